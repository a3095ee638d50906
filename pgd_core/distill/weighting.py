"""Prediction-Guided Weighting: from quality scores to distillation masks (Eqs. 2-4).

Letters as in `inputs`; K positions are kept for each object.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import accumulate

import torch
from torch import Tensor

from pgd_core.distill.inputs import GroundTruth, TeacherPredictions
from pgd_core.distill.quality import object_evidence, quality_scores

# Positions closer than a thousandth of a pixel are one position.
_ONE_POSITION_PX2 = 1e-6
# A support this much thinner than long is a line: far above float64's rounding (1e-16), far
# below the thinnest support on a grid (one point 4 px off a line 1000 px long: 1e-6).
_LINE = 1e-10


@dataclass(frozen=True)
class DistillationMasks:
    """Where to distil, one value a position; zero everywhere else."""

    cls_importance: Tensor  # (N, A)  I of Eq. 3 with xi_cls
    reg_importance: Tensor  # (N, A)  I of Eq. 3 with xi_reg
    background: Tensor  # (N, A)  1 in no object's box


@torch.no_grad()
def distillation_masks(
    predictions: TeacherPredictions, truth: GroundTruth, xi_cls: float, xi_reg: float, top_k: int
) -> DistillationMasks:
    """Importance of every position for each branch, and the background, of each image alone.

    Departure: the release broadcasts the masks over the batch, so that every image gets every
    image's mask. Ours stay with their image, as in the paper.
    """
    evidence = object_evidence(predictions, truth)
    cls_importance, reg_importance = (
        position_importance(quality_scores(evidence, xi), predictions.points, top_k)
        for xi in (xi_cls, xi_reg)
    )
    return DistillationMasks(
        cls_importance, reg_importance, evidence.background.to(cls_importance.dtype)
    )


def position_importance(
    quality: Tensor,  # (N, G, A)  in [0, 1]
    points: Tensor,  # (A, 2)  (x, y), pixels
    top_k: int,
) -> Tensor:  # (N, A)  in [0, 1], not 0 exactly on the key positions
    """Eqs. 2-3: a Gaussian over each object's K best positions, and the maximum over objects."""
    scores, positions = key_positions(quality, top_k)
    is_key = scores > 0
    weights = gaussian_weights(points[positions], is_key).to(quality.dtype)
    importance = quality.new_zeros(quality.shape[0], quality.shape[2])
    return importance.scatter_reduce_(1, positions.flatten(1), weights.flatten(1), "amax")


def key_positions(
    quality: Tensor,  # (N, G, A)  in [0, 1]
    top_k: int,
) -> tuple[Tensor, Tensor]:  # scores and positions, both (N, G, K) with K = min(top_k, A)
    """The K best positions of each object over all levels.

    A position of quality 0 predicts nothing of the object and is no key position, so that an
    object may have fewer than K, or none.

    Departure: the release ranks all positions and drops those outside the box after the
    Gaussian is fitted; ours ranks by Eq. 1, which is 0 outside the box.
    """
    best = quality.topk(min(top_k, quality.shape[-1]), dim=-1)
    return best.values, best.indices


def gaussian_weights(
    support: Tensor,  # (N, G, K, 2)  (x, y), pixels
    is_key: Tensor,  # (N, G, K)  bool; which of them count
) -> Tensor:  # (N, G, K)  float64; in (0, 1] on the key positions, 0 on the others
    """exp(-1/2 Mahalanobis^2) of each key position under the Gaussian fitted to all (Eqs. 2-3).

    The covariance of one object in ten is singular: few positions, or positions of several
    levels that coincide or lie on a line. The distance is then taken in the subspace that the
    positions span: on a line along the line, and at one distinct position it is 0 (weight 1).
    Two positions have weight exp(-1/2) each.

    Departure: the release adds random noise of 0.05 px to keep the covariance invertible, and
    cannot be reproduced.
    """
    keys = is_key.double()[..., None]
    count = keys.sum(dim=-2, keepdim=True).clamp(min=1)
    mean = (support * keys).sum(dim=-2, keepdim=True) / count
    offset = (support - mean) * keys
    dx, dy = offset.unbind(dim=-1)
    var_x, var_y, cov = (
        product.sum(dim=-1, keepdim=True) / count[..., 0] for product in (dx * dx, dy * dy, dx * dy)
    )
    determinant = var_x * var_y - cov * cov
    trace = var_x + var_y
    is_plane = determinant > _LINE * trace * trace
    in_plane = (var_y * dx * dx - 2 * cov * dx * dy + var_x * dy * dy) / determinant
    on_line = (dx * dx + dy * dy) / trace
    distance2 = torch.where(is_plane, in_plane, on_line)
    distance2 = torch.where(trace > _ONE_POSITION_PX2, distance2, 0.0)
    # A support of K positions reaches K - 1; the floor keeps far ones of a large K above zero.
    tiny = torch.finfo(torch.float32).tiny
    return torch.exp(-0.5 * distance2).clamp(min=tiny) * is_key


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
