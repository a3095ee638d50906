"""Prediction-Guided Distillation: the module that holds its parameters and sums its losses."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from pgd_core.distill.inputs import DetectorView, Scene, check_features_fit
from pgd_core.distill.losses import cls_losses, reg_losses
from pgd_core.distill.parameters import PgdParameters
from pgd_core.distill.strategies import most_positions
from pgd_core.distill.weighting import DistillationMasks, distillation_masks, split_levels

_OF_CLASSIFICATION = ("feature", "spatial_attention", "channel_attention")
_TERMS = {
    "neck": _OF_CLASSIFICATION,
    "cls": _OF_CLASSIFICATION,
    "reg": ("feature", "attention"),
}


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
        """Weighted scalars, to be added to the student's own loss; their sum is Eq. 10.

        Three for the neck's or the classification features, two for the regression features,
        as `branches` has it.
        """
        hyper, predictions = self.hyper, scene.predictions
        features = {
            part: (_features(teacher_view, part), _features(student_view, part))
            for part in hyper.parts
        }
        for part, (teacher, student) in features.items():
            check_features_fit(part, teacher, student, predictions.level_sizes)
        with torch.autocast(predictions.points.device.type, enabled=False):
            masks = distillation_masks(predictions, scene.truth, hyper)
            terms = {}
            for part, pair in features.items():
                teacher, student = (_full_precision(levels) for levels in pair)
                of_part = self._regression if part == "reg" else self._classification
                terms[part] = of_part(teacher, student, masks, scene)
            return {
                f"loss_pgd_{part}_{name}": value
                for part, levels in terms.items()
                for name, value in zip(_TERMS[part], torch.stack(levels).sum(dim=0), strict=True)
            }

    def _classification(
        self,
        teacher: list[Tensor],  # per level (N, C, H_l, W_l)
        student: list[Tensor],  # per level (N, C, H_l, W_l)
        masks: DistillationMasks,
        scene: Scene,
    ) -> list[Tensor]:  # per level (3,)
        sizes = scene.predictions.level_sizes
        return [
            cls_losses(of_teacher, of_student, importance, background, self.hyper, level_weight)
            for of_teacher, of_student, importance, background, level_weight in zip(
                teacher,
                student,
                split_levels(masks.cls_importance, sizes),
                split_levels(masks.background, sizes),
                self.hyper.weights_of_levels(len(sizes)),
                strict=True,
            )
        ]

    def _regression(
        self,
        teacher: list[Tensor],  # per level (N, C, H_l, W_l)
        student: list[Tensor],  # per level (N, C, H_l, W_l)
        masks: DistillationMasks,
        scene: Scene,
    ) -> list[Tensor]:  # per level (2,)
        objects, positions = scene.truth.boxes.shape[1], scene.predictions.points.shape[0]
        most_keys = most_positions(self.hyper, objects, positions)
        importances = split_levels(masks.reg_importance, scene.predictions.level_sizes)
        return [
            reg_losses(of_teacher, of_student, importance, most_keys, self.hyper)
            for of_teacher, of_student, importance in zip(
                teacher, student, importances, strict=True
            )
        ]


def _features(view: DetectorView, part: str) -> list[Tensor]:
    return {"neck": view.neck, "cls": view.towers.cls, "reg": view.towers.reg}[part]


def _full_precision(levels: list[Tensor]) -> list[Tensor]:
    return [level.to(torch.promote_types(level.dtype, torch.float32)) for level in levels]
