"""Feature Richness Score (FRS): neck and classes, where the teacher sees any class.

One level, p_T and p_S the probabilities of teacher and student (a sigmoid a class), m = max_c p_T
the richness of each position, d = T - adapter(S):

    L = w_feature * sum m d^2 / sum m + w_class * sum m BCE(p_S, p_T) / sum m

with sums over the batch, d^2 also over channels and BCE also over classes. The levels add up. The
adapter is a 3x3 convolution. Both weights grow linearly from 0 over the first iterations.

The class term is not 0 where student and teacher agree: it is the teacher's entropy there, and
its gradient is 0. The ground truth has no part, so that ignore regions count as the teacher sees
them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pgd_core.distill.distances import weighted_squared_error
from pgd_core.distill.inputs import DetectorView, Scene, Setting
from pgd_core.distill.level_masks import cells_on_image
from pgd_core.distill.levels import level_adapters, paired_levels
from pgd_core.distill.presets import check_numbers, preset_of


@dataclass(frozen=True)
class FrsParameters:
    """The defaults are the authors' for FCOS.

    They give numbers for FCOS, GFL and RetinaNet. Unverified: those of RetinaNet for ATSS and
    DDOD, and those of FCOS for AutoAssign.
    """

    w_feature: float = 0.01
    """Weight of the features."""
    w_class: float = 0.05
    """Weight of the class probabilities."""
    warm_up_iterations: int = 500
    """Iterations over which both weights grow from 0."""

    def __post_init__(self) -> None:
        check_numbers(self)

    @classmethod
    def preset(cls, setting: Setting) -> FrsParameters:
        """The numbers for a detector; InvalidSpec for an unknown one."""
        return preset_of(_PRESETS, setting.detector)

    def warmth(self, iteration: int) -> float:  # in [0, 1]
        """The share of the weights after that many steps."""
        if iteration >= self.warm_up_iterations:
            return 1.0
        return iteration / self.warm_up_iterations


_FCOS = FrsParameters()
_RETINANET = FrsParameters(w_feature=0.005, w_class=0.02)
_PRESETS = {
    "fcos": _FCOS,
    "autoassign": _FCOS,
    "gfl": FrsParameters(w_feature=0.1, w_class=0.05),
    "atss": _RETINANET,
    "ddod": _RETINANET,
}


@torch.no_grad()
def richness_shares(
    teacher_probs: Tensor,  # (N, classes, H, W)
    on_image: Tensor,  # (N, H, W)  bool
) -> Tensor:  # (N, 1, H, W), sum 1 over the batch, or all 0
    """m / sum m.

    Departure: m is 0 on padding; the authors leave it in.
    """
    richness = teacher_probs.amax(dim=1, keepdim=True) * on_image[:, None]
    return richness / richness.sum().clamp(min=torch.finfo(richness.dtype).tiny)


def class_loss(
    teacher_probs: Tensor,  # (N, classes, H, W)
    student_logits: Tensor,  # (N, classes, H, W)
    share: Tensor,  # (N, 1, H, W)  m / sum m
) -> Tensor:  # scalar, not weighted
    """sum m BCE(p_S, p_T) / sum m of one level."""
    entropy = F.binary_cross_entropy_with_logits(student_logits, teacher_probs, reduction="none")
    return (entropy.sum(dim=1, keepdim=True) * share).sum()


class FeatureRichnessDistillation(nn.Module):
    """FRS's losses for one batch; trains a 3x3 convolution a level."""

    def __init__(self, parameters: FrsParameters, setting: Setting) -> None:
        super().__init__()
        self.hyper = parameters
        self.adapters = level_adapters(setting.channels, len(setting.strides))

    def forward(
        self, teacher_view: DetectorView, student_view: DetectorView, scene: Scene
    ) -> dict[str, Tensor]:
        """Two weighted scalars, to be added to the student's own loss."""
        sizes = scene.predictions.level_sizes
        on_image = cells_on_image(scene.predictions, scene.truth)
        feature_terms, class_terms = [], []
        with torch.autocast(scene.predictions.points.device.type, enabled=False):
            features = paired_levels("neck's features", teacher_view.neck, student_view.neck, sizes)
            logits = paired_levels(
                "class logits", teacher_view.class_logits, student_view.class_logits, sizes
            )
            for (teacher, student), (of_teacher, of_student), is_on_image, adapter in zip(
                features, logits, on_image, self.adapters, strict=True
            ):
                probs = of_teacher.sigmoid()
                share = richness_shares(probs, is_on_image)
                one = teacher.new_ones(())
                feature_terms.append(
                    weighted_squared_error(adapter(student), teacher, one, share.to(teacher.dtype))
                )
                class_terms.append(class_loss(probs, of_student, share))
        warmth = self.hyper.warmth(scene.iteration)
        return {
            "loss_frs_feature": warmth * self.hyper.w_feature * torch.stack(feature_terms).sum(),
            "loss_frs_class": warmth * self.hyper.w_class * torch.stack(class_terms).sum(),
        }


def build(setting: Setting, options: Mapping[str, Any]) -> FeatureRichnessDistillation:
    """FRS with the detector's preset, but for the options that were given."""
    return FeatureRichnessDistillation(replace(FrsParameters.preset(setting), **options), setting)
