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
