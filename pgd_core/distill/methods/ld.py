"""Localization Distillation (LD): where the teacher's box distributions say that the sides are.

For heads that give a distribution over B bins for each side of a box. KL_T is T^2 KL(teacher ||
student) of both softmaxes at temperature T over the number of bins (or classes), as MMDetection's
LD has it with these weights, and w = max_c p_S the student's best class
probability, without gradient:

    L_main     = w_main     * sum over positives of w * mean over sides KL_box / sum of w
    L_valuable = w_valuable * the same over the valuable region
    L_class    = w_class    * mean over positives of KL_class
    L_feature  = w_feature  * mean over the fine-grained region and channels of (T - S)^2

Positives are what ATSS gives the student to learn. The valuable region is where the distance-IoU
of anchor and object is below the object's ATSS threshold and at least a quarter of it, outside
positives, padding and ignore regions. The features are the neck's, without an adapter: both have
one width.

Unverified, because chosen here: the softmax of the class term is over logits that train under a
sigmoid; sums are over the batch, as in the detector's own losses, but the feature
term's over an image; a positive is never in the valuable region of another object. With one class
the class term is 0.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from pgd_core.distill.anchors import anchor_dious, anchor_ious
from pgd_core.distill.atss import atss_assignment
from pgd_core.distill.fine_grained import fine_grained_region, imitation_error
from pgd_core.distill.inputs import DetectorView, GroundTruth, Scene, Setting, TeacherPredictions
from pgd_core.distill.level_masks import usable_cells
from pgd_core.distill.levels import paired_levels
from pgd_core.distill.presets import check_numbers, preset_of
from pgd_core.errors import InvalidSpec

_CANDIDATES_PER_LEVEL = 9  # of the detector's own assignment
_FINE_GRAINED_SHARE = 0.5
_SIDES = 4


@dataclass(frozen=True)
class LdParameters:
    """The authors' numbers for GFL."""

    w_main: float = 0.25
    """Weight of the box distributions on positives."""
    w_valuable: float = 0.25
    """Weight of the box distributions on the valuable region."""
    w_class: float = 10.0
    """Weight of the classes on positives."""
    w_feature: float = 2.0
    """Weight of the neck's features on the fine-grained region."""
    tau_box: float = 10.0
    """Temperature of the box distributions."""
    tau_class: float = 2.0
    """Temperature of the classes."""
    valuable_share: float = 0.25
    """Share of an object's threshold where the valuable region begins."""

    def __post_init__(self) -> None:
        check_numbers(self)

    @classmethod
    def preset(cls, setting: Setting) -> LdParameters:
        """The numbers for a detector; InvalidSpec for one without box distributions."""
        return preset_of({"gfl": cls()}, setting.detector)


@dataclass(frozen=True)
class LdRegions:
    """Where each term of LD counts."""

    positive: Tensor  # (N, A)  bool
    valuable: Tensor  # (N, A)  bool; never positive
    fine_grained: list[Tensor]  # per level (N, H_l, W_l)  bool


@torch.no_grad()
def ld_regions(
    predictions: TeacherPredictions, truth: GroundTruth, valuable_share: float
) -> LdRegions:
    """Positives, the valuable region and the fine-grained region of a batch."""
    ious = anchor_ious(predictions, truth)
    assignment = atss_assignment(ious, predictions, truth, _CANDIDATES_PER_LEVEL)
    dious = anchor_dious(ious, predictions, truth)
    threshold = assignment.thresholds[..., None]
    in_band = (dious >= valuable_share * threshold) & (dious < threshold) & truth.valid[..., None]
    usable = torch.cat([cells.flatten(1) for cells in usable_cells(predictions, truth)], dim=1)
    return LdRegions(
        positive=assignment.positive,
        valuable=in_band.any(dim=1) & usable & ~assignment.positive,
        fine_grained=fine_grained_region(ious, predictions, truth, _FINE_GRAINED_SHARE),
    )


def softened_divergence(
    teacher: Tensor,  # logits, distributions along `dim`
    student: Tensor,  # of the same shape
    tau: float,
    dim: int,
) -> Tensor:  # without `dim`
    """tau^2 KL(softmax(teacher / tau) || softmax(student / tau)) over the number of outcomes.

    Departure: the paper's KL is a sum; MMDetection's, whose weight of 0.25 is ours, is this mean.
    """
    log_teacher = (teacher / tau).log_softmax(dim)
    log_student = (student / tau).log_softmax(dim)
    return tau**2 * (log_teacher.exp() * (log_teacher - log_student)).mean(dim)


def weighted_mean(
    values: Tensor,  # (N, A)
    weights: Tensor,  # (N, A)  not negative
) -> Tensor:  # scalar
    """sum of weights * values / sum of weights over the batch; 0 where all weights are 0."""
    return (values * weights).sum() / weights.sum().clamp(min=torch.finfo(weights.dtype).tiny)


class LocalizationDistillation(nn.Module):
    """LD's losses for one batch; has no weights of its own."""

    def __init__(self, parameters: LdParameters) -> None:
        super().__init__()
        self.hyper = parameters

    def forward(
        self, teacher_view: DetectorView, student_view: DetectorView, scene: Scene
    ) -> dict[str, Tensor]:
        """Four weighted scalars, to be added to the student's own loss."""
        hyper, sizes = self.hyper, scene.predictions.level_sizes
        teacher, student = teacher_view, student_view
        with torch.autocast(scene.predictions.points.device.type, enabled=False):
            neck = paired_levels("neck's features", teacher.neck, student.neck, sizes)
            regions = ld_regions(scene.predictions, scene.truth, hyper.valuable_share)
            of_teacher, of_student = _flat(
                paired_levels("class logits", teacher.class_logits, student.class_logits, sizes)
            )
            sides = _flat(
                paired_levels("box outputs", teacher.box_outputs, student.box_outputs, sizes)
            )
            teacher_sides, student_sides = map(_of_sides, sides)
            box = softened_divergence(teacher_sides, student_sides, hyper.tau_box, 2).mean(dim=1)
            cls = softened_divergence(of_teacher, of_student, hyper.tau_class, 1)
            confidence = of_student.detach().sigmoid().amax(dim=1)
            feature = imitation_error(neck, regions.fine_grained)
            return {
                "loss_ld_main": hyper.w_main * weighted_mean(box, confidence * regions.positive),
                "loss_ld_valuable": hyper.w_valuable
                * weighted_mean(box, confidence * regions.valuable),
                "loss_ld_class": hyper.w_class * weighted_mean(cls, regions.positive.to(cls.dtype)),
                "loss_ld_feature": hyper.w_feature * feature,
            }


def _flat(levels: list[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:  # (N, channels, A) each
    teacher = torch.cat([of_teacher.flatten(2) for of_teacher, _ in levels], dim=2)
    student = torch.cat([of_student.flatten(2) for _, of_student in levels], dim=2)
    return teacher, student


def _of_sides(
    outputs: Tensor,  # (N, 4 * B, A)
) -> Tensor:  # (N, 4, B, A)
    images, channels, positions = outputs.shape
    if channels % _SIDES or channels == _SIDES:
        raise InvalidSpec(
            f"a head with {channels} box outputs gives no distribution of each side; LD serves "
            f"detectors with 4 times a number of bins"
        )
    return outputs.reshape(images, _SIDES, channels // _SIDES, positions)


def build(setting: Setting, options: Mapping[str, Any]) -> LocalizationDistillation:
    """LD with the detector's preset, but for the options that were given."""
    return LocalizationDistillation(replace(LdParameters.preset(setting), **options))
