"""A method called on plain tensors: views and a scene around features, predictions and truth."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from pgd_core.distill import (
    DetectorView,
    GroundTruth,
    PgdParameters,
    PredictionGuidedDistillation,
    Scene,
    Setting,
    TeacherPredictions,
    TowerFeatures,
)


def view_of_towers(towers: TowerFeatures) -> DetectorView:
    """A view whose neck gives what the classification tower gives; no head output."""
    return DetectorView(neck=towers.cls, towers=towers, class_logits=[], box_outputs=[])


def view_of_neck(
    neck: list[Tensor],
    class_logits: list[Tensor] | None = None,
    box_outputs: list[Tensor] | None = None,
) -> DetectorView:
    """A view with a neck and a head's outputs, for methods that look at these."""
    return DetectorView(neck, TowerFeatures([], []), class_logits or [], box_outputs or [])


def with_anchors(
    predictions: TeacherPredictions, strides: tuple[int, ...] = (8, 16), scale: float = 1.0
) -> TeacherPredictions:
    """The predictions with a square anchor around each point, `scale` strides wide."""
    sizes = zip(predictions.level_sizes, strides, strict=True)
    half = torch.cat([torch.full((h * w, 1), scale / 2 * stride) for (h, w), stride in sizes])
    points = predictions.points
    return replace(predictions, anchors=torch.cat([points - half, points + half], dim=1))


def setting(
    detector: str = "fcos", channels: int = 3, strides: tuple[int, ...] = (8, 16)
) -> Setting:
    """Two detectors of one kind with narrow necks, on COCO."""
    return Setting(detector, "resnet", "coco", channels, strides)


def three_in_a_row() -> TeacherPredictions:
    """One level of three positions, their anchors 10 x 10 at x = 0, 4 and 8."""
    points = torch.tensor([[5.0, 5], [9, 5], [13, 5]])
    return TeacherPredictions(
        points,
        torch.zeros(1, 3, 4),
        torch.zeros(1, 3, 1),
        ((1, 3),),
        torch.cat([points - 5, points + 5], dim=1),
    )


def one_object(box: list[float]) -> GroundTruth:
    """An image of 30 x 20 pixels with one object of class 0."""
    return GroundTruth.from_lists(
        [torch.tensor([box])], [torch.zeros(1)], [torch.zeros(0, 4)], [(20, 30)], "cpu"
    )


def pgd(
    parameters: PgdParameters,
) -> Callable[[TowerFeatures, TowerFeatures, TeacherPredictions, GroundTruth], dict[str, Tensor]]:
    """PGD's losses from both towers, the teacher's predictions and the truth."""
    method = PredictionGuidedDistillation(parameters)

    def losses(
        teacher: TowerFeatures,
        student: TowerFeatures,
        predictions: TeacherPredictions,
        truth: GroundTruth,
    ) -> dict[str, Tensor]:
        views = (view_of_towers(teacher), view_of_towers(student))
        result: dict[str, Tensor] = method(*views, Scene(predictions, truth, iteration=0))
        return result

    return losses
