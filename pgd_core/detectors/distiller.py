"""The one distiller: a student that trains under a frozen teacher's eyes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, Self, cast

import torch
from mmdet.structures import DetDataSample
from mmdet.structures.bbox import get_box_tensor
from mmengine.model import BaseModel
from torch import Tensor, nn

from pgd_core.detectors.predictions import head_predictions
from pgd_core.detectors.taps import tap
from pgd_core.distill import DetectorView, GroundTruth, Scene, TeacherPredictions


class Method(Protocol):
    """A distillation method: weighted losses from both detectors' views of a batch."""

    def __call__(
        self, teacher: DetectorView, student: DetectorView, scene: Scene
    ) -> dict[str, Tensor]: ...


class Distiller(BaseModel):  # type: ignore[misc]
    """Adds a method's losses to the student's own.

    The teacher is no submodule: it is in no state dict, no optimiser and no DDP bucket, and stays
    in evaluation mode; it only follows the student from device to device. What a method trains
    beside the student is a parameter here, but no part of the student.
    """

    iteration = 0  # steps of the optimiser made; the training loop counts

    def __init__(self, student: nn.Module, teacher: nn.Module, method: nn.Module) -> None:
        super().__init__()
        self.student = student
        self.method = method
        self.data_preprocessor = cast(Any, student).data_preprocessor
        self._teacher_holder = (teacher.eval().requires_grad_(False),)

    @property
    def teacher(self) -> nn.Module:
        """The frozen teacher."""
        return self._teacher_holder[0]

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        cast(Any, self.teacher)._apply(fn, recurse)
        return cast(Self, super()._apply(fn, recurse))

    def init_weights(self) -> None:
        """Nothing: the student comes initialised, perhaps with its teacher's head."""

    def forward(
        self,
        inputs: Tensor,  # (N, 3, H, W), normalised
        data_samples: list[DetDataSample],
        mode: str = "tensor",
    ) -> Any:
        """MMEngine's three modes; all but `loss` are the student's own."""
        if mode != "loss":
            return self.student(inputs, data_samples, mode=mode)
        with tap(self.student) as student_view:
            losses = cast(Any, self.student).loss(inputs, data_samples)
        teacher_view, predictions = self._look(inputs)
        truth = ground_truth(data_samples, inputs.device)
        scene = Scene(predictions, truth, self.iteration)
        distillation = cast(Method, self.method)(teacher_view, student_view, scene)
        return {**losses, **distillation}

    @torch.no_grad()
    def _look(self, inputs: Tensor) -> tuple[DetectorView, TeacherPredictions]:
        teacher = cast(Any, self.teacher)
        with tap(self.teacher) as view:
            outputs = teacher.bbox_head(teacher.extract_feat(inputs))
        return view, head_predictions(teacher.bbox_head, outputs)


def ground_truth(samples: list[DetDataSample], device: torch.device) -> GroundTruth:
    """A batch's boxes, labels, ignore regions and sizes before padding, as method input."""
    return GroundTruth.from_lists(
        boxes=[get_box_tensor(s.gt_instances.bboxes) for s in samples],
        labels=[s.gt_instances.labels for s in samples],
        ignored=[_ignored(s, device) for s in samples],
        image_sizes=[tuple(s.img_shape[:2]) for s in samples],
        device=device,
    )


def _ignored(sample: DetDataSample, device: torch.device) -> Tensor:
    instances = sample.get("ignored_instances")
    if instances is None or len(instances) == 0:
        return torch.zeros(0, 4, device=device)
    return cast(Tensor, get_box_tensor(instances.bboxes))
