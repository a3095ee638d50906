"""Prediction-Guided Weighting: from the teacher's predictions to distillation masks (Eqs. 1-4).

Letters as in `inputs`.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import accumulate

import torch
from torch import Tensor

from pgd_core.distill.inputs import GroundTruth, TeacherPredictions
from pgd_core.distill.parameters import PgdParameters
from pgd_core.distill.quality import object_evidence
from pgd_core.distill.strategies import Candidates, foreground_importance


@dataclass(frozen=True)
class DistillationMasks:
    """Where to distil, one value a position; zero everywhere else."""

    cls_importance: Tensor  # (N, A)  I of Eq. 3 with xi_cls, or another strategy's
    reg_importance: Tensor  # (N, A)  I of Eq. 3 with xi_reg, or another strategy's
    background: Tensor  # (N, A)  1 in no object's box


@torch.no_grad()
def distillation_masks(
    predictions: TeacherPredictions, truth: GroundTruth, hyper: PgdParameters
) -> DistillationMasks:
    """Importance of every position for each branch, and the background, of each image alone.

    Departure: the release broadcasts the masks over the batch, so that every image gets every
    image's mask. Ours stay with their image, as in the paper.
    """
    evidence = object_evidence(predictions, truth)
    cls_importance, reg_importance = (
        foreground_importance(
            hyper.strategy,
            Candidates(evidence, predictions.points, truth.boxes, xi, hyper.top_k),
        )
        for xi in (hyper.xi_cls, hyper.xi_reg)
    )
    return DistillationMasks(
        cls_importance, reg_importance, evidence.background.to(cls_importance.dtype)
    )


def normalise(
    mask: Tensor,  # (N, ...)  one level
) -> Tensor:  # (N, ...)
    """The mask over its number of non-zero positions, for each image (Eq. 4, and N of Eq. 5)."""
    of_image = mask.flatten(1)
    count = (of_image > 0).sum(dim=1).clamp(min=1)
    return (of_image / count[:, None]).view_as(mask)


def split_levels(
    mask: Tensor,  # (N, A)
    level_sizes: tuple[tuple[int, int], ...],
) -> list[Tensor]:  # per level (N, H_l, W_l)
    """One map a level, from values concatenated over the levels."""
    areas = [height * width for height, width in level_sizes]
    starts = [0, *accumulate(areas)]
    return [
        mask.narrow(1, start, area).reshape(-1, *size)
        for start, area, size in zip(starts, areas, level_sizes, strict=False)
    ]
