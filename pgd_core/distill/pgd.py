"""Prediction-Guided Distillation: the module that holds its parameters and sums its losses."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from pgd_core.distill.inputs import DetectorView, Scene, TowerFeatures, check_features_fit
from pgd_core.distill.losses import cls_losses, reg_losses
from pgd_core.distill.parameters import PgdParameters
from pgd_core.distill.weighting import distillation_masks, split_levels


class PredictionGuidedDistillation(nn.Module):
    """The distillation loss of PGD (Eq. 10), term by term, for one batch.

    Has no weights of its own. Computes in float32 (float64 for float64 features) whatever the
    features' type, under autocast too.
    """

    def __init__(self, parameters: PgdParameters) -> None:
        super().__init__()
        self.hyper = parameters

    def forward(
        self, teacher_view: DetectorView, student_view: DetectorView, scene: Scene
    ) -> dict[str, Tensor]:
        """Five weighted scalars, to be added to the student's own loss; their sum is Eq. 10."""
        hyper, predictions, truth = self.hyper, scene.predictions, scene.truth
        sizes = predictions.level_sizes
        check_features_fit(teacher_view.towers, student_view.towers, sizes)
        with torch.autocast(predictions.points.device.type, enabled=False):
            teacher = _full_precision(teacher_view.towers)
            student = _full_precision(student_view.towers)
            masks = distillation_masks(predictions, truth, hyper.xi_cls, hyper.xi_reg, hyper.top_k)
            cls_terms = [
                cls_losses(of_teacher, of_student, importance, background, hyper, level_weight)
                for of_teacher, of_student, importance, background, level_weight in zip(
                    teacher.cls,
                    student.cls,
                    split_levels(masks.cls_importance, sizes),
                    split_levels(masks.background, sizes),
                    hyper.weights_of_levels(len(sizes)),
                    strict=True,
                )
            ]
            most_keys = truth.boxes.shape[1] * hyper.top_k
            reg_terms = [
                reg_losses(of_teacher, of_student, importance, most_keys, hyper)
                for of_teacher, of_student, importance in zip(
                    teacher.reg,
                    student.reg,
                    split_levels(masks.reg_importance, sizes),
                    strict=True,
                )
            ]
            feature, spatial, channel = torch.stack(cls_terms).sum(dim=0)
            reg_feature, reg_attention = torch.stack(reg_terms).sum(dim=0)
        return {
            "loss_pgd_cls_feature": feature,
            "loss_pgd_cls_spatial_attention": spatial,
            "loss_pgd_cls_channel_attention": channel,
            "loss_pgd_reg_feature": reg_feature,
            "loss_pgd_reg_attention": reg_attention,
        }


def _full_precision(features: TowerFeatures) -> TowerFeatures:
    cls, reg = (
        [level.to(torch.promote_types(level.dtype, torch.float32)) for level in tower]
        for tower in (features.cls, features.reg)
    )
    return TowerFeatures(cls, reg)
