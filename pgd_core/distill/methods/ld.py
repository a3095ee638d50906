"""LD: the distributions of GFL's box sides, its classes, and the neck near objects.

KL_T is the divergence of the student's distribution from the teacher's, both of a softmax of the
logits over T, as a mean over the bins (or classes), times T^2; w is the student's greatest class
probability at a position, without gradient. Means are over the batch:

    L = w_box   * sum over positives of w * mean over sides KL_10 / sum over positives of w
      + w_box   * the same over the valuable region
      + w_class * mean over positives KL_2
      + w_feature * mean over the imitation region and channels (T - S)^2

Positives are ATSS's, the valuable region what it nearly takes, the imitation region FGFI's.
Unverified: the mean over bins and the threshold of the valuable region, taken from ATSS's IoUs.

Source: Zheng et al., Localization Distillation for Object Detection, CVPR 2022.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from pgd_core.distill.anchors import anchors_of, atss_assignment, imitation_region
from pgd_core.distill.inputs import DetectorView, Scene, Setting
from pgd_core.distill.level_masks import usable_cells
from pgd_core.distill.levels import paired_levels
from pgd_core.distill.presets import check_numbers, preset_of


@dataclass(frozen=True)
class LdParameters:
    """The authors' numbers for GFL."""

    w_box: float = 0.25
    """Weight of the distributions, on positives and on the valuable region."""
    w_class: float = 10.0
    """Weight of the classes on positives."""
    w_feature: float = 2.0
    """Weight of the neck's features on the imitation region."""
    tau_box: float = 10.0
    """Temperature of the distributions."""
    tau_class: float = 2.0
    """Temperature of the classes."""

    def __post_init__(self) -> None:
        check_numbers(self)

    @classmethod
    def preset(cls, setting: Setting) -> LdParameters:
        """The numbers for a detector; InvalidSpec for one without distributions."""
        return preset_of({"gfl": cls()}, setting.detector)


def divergence(
    teacher_logits: Tensor,  # (..., B)
    student_logits: Tensor,  # (..., B)
    tau: float,
) -> Tensor:  # (...)
    """KL_T: T^2 / B * sum over bins of t (log t - log s); 0, with gradient 0, where they agree."""
    teacher = (teacher_logits / tau).log_softmax(dim=-1)
    student = (student_logits / tau).log_softmax(dim=-1)
    return tau**2 * (teacher.exp() * (teacher - student)).mean(dim=-1)


def weighted_mean(values: Tensor, weights: Tensor) -> Tensor:  # of one shape; scalar
    """sum of weights * values over the sum of the weights; 0 where these are all 0."""
    return (values * weights).sum() / weights.sum().clamp(min=torch.finfo(weights.dtype).eps)


class LocalizationDistillation(nn.Module):
    """LD's losses for one batch; has no weights of its own."""

    def __init__(self, parameters: LdParameters) -> None:
        super().__init__()
        self.hyper = parameters

    def forward(
        self, teacher_view: DetectorView, student_view: DetectorView, scene: Scene
    ) -> dict[str, Tensor]:
        """Four weighted scalars, to be added to the student's own loss."""
        hyper, anchors, sizes = self.hyper, anchors_of(scene), scene.predictions.level_sizes
        assigned = atss_assignment(anchors, sizes, scene.truth)
        cells = usable_cells(scene.predictions, scene.truth)
        usable = torch.cat([level.flatten(1) for level in cells], dim=1)
        with torch.autocast(anchors.device.type, enabled=False):
            teacher_box, box = _flat_pairs("box_outputs", teacher_view, student_view, scene)
            teacher_class, classes = _flat_pairs("class_logits", teacher_view, student_view, scene)
            sides = (*box.shape[:2], 4, -1)
            of_box = divergence(teacher_box.view(sides), box.view(sides), hyper.tau_box)
            of_box = of_box.mean(dim=-1)
            of_class = divergence(teacher_class, classes, hyper.tau_class)
            confidence = classes.detach().sigmoid().amax(dim=-1)
            main, valuable = (
                (mask & usable).to(of_box.dtype) for mask in (assigned.positive, assigned.valuable)
            )
            teacher, student = _flat_pairs("neck", teacher_view, student_view, scene)
            of_feature = (teacher - student).square().mean(dim=-1)
            region = (imitation_region(anchors, scene.truth) & usable).to(of_box.dtype)
            return {
                "loss_ld_main": hyper.w_box * weighted_mean(of_box, main * confidence),
                "loss_ld_valuable": hyper.w_box * weighted_mean(of_box, valuable * confidence),
                "loss_ld_class": hyper.w_class * weighted_mean(of_class, main),
                "loss_ld_feature": hyper.w_feature * weighted_mean(of_feature, region),
            }


def _flat_pairs(
    what: str, teacher_view: DetectorView, student_view: DetectorView, scene: Scene
) -> tuple[Tensor, Tensor]:  # teacher's and student's, both (N, A, channels)
    """A view's maps with their levels concatenated, checked and in full precision."""
    pairs = paired_levels(
        what.replace("_", " "),
        getattr(teacher_view, what),
        getattr(student_view, what),
        scene.predictions.level_sizes,
    )
    teacher, student = (
        torch.cat([level.flatten(2).transpose(1, 2) for level in levels], dim=1)
        for levels in zip(*pairs, strict=True)
    )
    return teacher, student


def build(setting: Setting, options: Mapping[str, Any]) -> LocalizationDistillation:
    """LD with the authors' numbers, but for the options that were given."""
    return LocalizationDistillation(replace(LdParameters.preset(setting), **options))
