"""Foreground strategies: which positions of an object to distil, and how strongly (Table 5).

A strategy gives the importance I of one branch; everything after it (Eqs. 4-10) is the same for
all. It sees eligible positions only: inside the object's box, on no padding and in no ignore
region. Where several objects meet at a position, the greatest importance counts.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from pgd_core.distill.key_regions import (
    fit_gaussian,
    key_positions,
    position_importance,
    spread_over_positions,
)
from pgd_core.distill.parameters import PgdParameters, Strategy
from pgd_core.distill.quality import ObjectEvidence, inside_boxes, quality_scores

_STD_OF_SIZE = 0.25
_CENTRE_SHARE = 0.2
_KEEPS_K: tuple[Strategy, ...] = ("topk_eq", "kde", "pgw")


@dataclass(frozen=True)
class Candidates:
    """What a strategy chooses from, for one branch."""

    evidence: ObjectEvidence
    points: Tensor  # (A, 2)  (x, y), pixels
    boxes: Tensor  # (N, G, 4)  XYXY, pixels; the objects
    xi: float  # of the branch
    top_k: int

    @property
    def quality(self) -> Tensor:  # (N, G, A)  in [0, 1], 0 where not eligible
        """q of Eq. 1."""
        return quality_scores(self.evidence, self.xi)


@torch.no_grad()
def foreground_importance(
    strategy: Strategy, candidates: Candidates
) -> Tensor:  # (N, A)  in [0, 1], in the type of the evidence
    """I of every position for one branch; 0 off the foreground."""
    return _IMPORTANCE[strategy](candidates)


def most_positions(hyper: PgdParameters, objects: int, positions: int) -> int:
    """How many foreground positions an image of that many objects can have."""
    if hyper.strategy in _KEEPS_K:
        return min(objects * hyper.top_k, positions)
    return positions


def box(candidates: Candidates) -> Tensor:
    """1 at every eligible position, as FGD and DeFeat choose them."""
    evidence = candidates.evidence
    return _greatest(evidence.eligible.to(evidence.ious.dtype))


def box_gauss(candidates: Candidates) -> Tensor:
    """exp(-1/2 (dx^2 / sx^2 + dy^2 / sy^2) from the box's centre, with s a quarter of its size.

    The edges lie at two standard deviations. Unverified: the paper takes this from TADF and
    says only that the standard deviation follows from the box's size; the quarter is ours.
    """
    dx, dy, width, height = _from_centres(candidates)
    z_x, z_y = dx / (_STD_OF_SIZE * width), dy / (_STD_OF_SIZE * height)
    weights = torch.exp(-0.5 * (z_x * z_x + z_y * z_y))
    evidence = candidates.evidence
    # Padded objects have no size and thus no number here.
    return _greatest(torch.where(evidence.eligible, weights, 0.0).to(evidence.ious.dtype))


def centre(candidates: Candidates) -> Tensor:
    """1 inside the middle 0.2 H x 0.2 W of the box.

    Departure: if no eligible position lies there, the eligible position nearest to the centre
    (all of them if several are as near) takes its place. The paper does not say what becomes of
    small objects, which would otherwise have no foreground.
    """
    evidence, boxes = candidates.evidence, candidates.boxes
    centres, halves = (boxes[..., :2] + boxes[..., 2:]) / 2, (boxes[..., 2:] - boxes[..., :2]) / 2
    middle = torch.cat([centres - _CENTRE_SHARE * halves, centres + _CENTRE_SHARE * halves], -1)
    chosen = inside_boxes(candidates.points, middle) & evidence.eligible
    dx, dy, *_ = _from_centres(candidates)
    distance2 = torch.where(evidence.eligible, dx * dx + dy * dy, torch.inf)
    nearest = (distance2 == distance2.amin(dim=-1, keepdim=True)) & evidence.eligible
    chosen = torch.where(chosen.any(dim=-1, keepdim=True), chosen, nearest)
    return _greatest(chosen.to(evidence.ious.dtype))


def quality(candidates: Candidates) -> Tensor:
    """q itself (Eq. 1), at every position where it is not 0."""
    return _greatest(candidates.quality)


def topk_eq(candidates: Candidates) -> Tensor:
    """1 at each of the object's K best positions."""
    scores, positions = key_positions(candidates.quality, candidates.top_k)
    is_key = (scores > 0).to(scores.dtype)
    return spread_over_positions(is_key, positions, candidates.points.shape[0])


def kde(candidates: Candidates) -> Tensor:
    """The density of the object's K best positions, estimated from themselves."""
    scores, positions = key_positions(candidates.quality, candidates.top_k)
    weights = density_weights(candidates.points[positions], scores > 0)
    return spread_over_positions(weights.to(scores.dtype), positions, candidates.points.shape[0])


def pgw(candidates: Candidates) -> Tensor:
    """The paper's own: a Gaussian fitted to the object's K best positions (Eqs. 2-3)."""
    return position_importance(candidates.quality, candidates.points, candidates.top_k)


def density_weights(
    support: Tensor,  # (N, G, K, 2)  (x, y), pixels
    is_key: Tensor,  # (N, G, K)  bool; which of them count
) -> Tensor:  # (N, G, K)  float64; in (0, 1] on the key positions, 0 on the others
    """sum_j exp(-1/2 (x - x_j)^T (h^2 Sigma)^-1 (x - x_j)) over its maximum on the support.

    Sigma is that of Eq. 2; Scott's rule gives h = n^(-1/(d + 4)) for n positions that span d
    dimensions, so that a support on a line is taken along the line (d = 1), and where all
    positions coincide each weighs 1. Memory grows with K^2 an object.

    The rule and the scale (greatest weight 1, like the Gaussian's peak) are ours: the paper only
    names kernel density estimation.
    """
    gaussian, offset = fit_gaussian(support, is_key)
    dx, dy = ((d[..., :, None] - d[..., None, :]).flatten(-2) for d in offset.unbind(dim=-1))
    count = is_key.double().sum(dim=-1, keepdim=True).clamp(min=1)
    dimensions = 1 + gaussian.is_plane.double()
    bandwidth2 = count.pow(-2 / (dimensions + 4))
    kernel = torch.exp(-0.5 * gaussian.distance2(dx, dy) / bandwidth2)
    of_pairs = kernel.view(*is_key.shape, is_key.shape[-1]) * is_key[..., None, :]
    density: Tensor = of_pairs.sum(dim=-1) * is_key
    return density / density.amax(dim=-1, keepdim=True).clamp(min=1)


def _from_centres(
    candidates: Candidates,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:  # dx, dy (N, G, A) and width, height (N, G, 1)
    boxes = candidates.boxes.to(candidates.points.dtype)
    x1, y1, x2, y2 = boxes[..., None].unbind(dim=-2)
    x, y = candidates.points.unbind(dim=-1)
    return x - (x1 + x2) / 2, y - (y1 + y2) / 2, x2 - x1, y2 - y1


def _greatest(
    importance: Tensor,  # (N, G, A)
) -> Tensor:  # (N, A)
    if importance.shape[1] == 0:
        return importance.new_zeros(importance.shape[0], importance.shape[2])
    return importance.amax(dim=1)


_IMPORTANCE: dict[Strategy, Callable[[Candidates], Tensor]] = {
    "box": box,
    "box_gauss": box_gauss,
    "centre": centre,
    "quality": quality,
    "topk_eq": topk_eq,
    "kde": kde,
    "pgw": pgw,
}
