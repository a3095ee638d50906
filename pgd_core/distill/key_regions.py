"""Key predictive regions: each object's K best positions and the Gaussian over them (Eqs. 2-3).

Letters as in `inputs`; K positions are kept for each object.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

# Positions closer than a thousandth of a pixel are one position.
_ONE_POSITION_PX2 = 1e-6
# A support this much thinner than long is a line: far above float64's rounding (1e-16), far
# below the thinnest support on a grid (one point 4 px off a line 1000 px long: 1e-6).
_LINE = 1e-10


def position_importance(
    quality: Tensor,  # (N, G, A)  in [0, 1]
    points: Tensor,  # (A, 2)  (x, y), pixels
    top_k: int,
) -> Tensor:  # (N, A)  in [0, 1], not 0 exactly on the key positions
    """Eqs. 2-3: a Gaussian over each object's K best positions, and the maximum over objects."""
    scores, positions = key_positions(quality, top_k)
    weights = gaussian_weights(points[positions], scores > 0)
    return spread_over_positions(weights.to(quality.dtype), positions, quality.shape[2])


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

    Where the positions coincide or lie on a line, see `Gaussian`: one distinct position weighs
    1, two positions weigh exp(-1/2) each.
    """
    gaussian, offset = fit_gaussian(support, is_key)
    distance2 = gaussian.distance2(*offset.unbind(dim=-1))
    # A support of K positions reaches K - 1; the floor keeps far ones of a large K above zero.
    tiny = torch.finfo(torch.float32).tiny
    return torch.exp(-0.5 * distance2).clamp(min=tiny) * is_key


@dataclass(frozen=True)
class Gaussian:
    """The covariance of each object's key positions (Eq. 2), in pixels^2.

    The covariance of one object in ten is singular: few positions, or positions of several
    levels that coincide or lie on a line. Distances are then taken in the subspace that the
    positions span: on a line along the line, and at one distinct position they are 0.

    Departure: the release adds random noise of 0.05 px to keep the covariance invertible, and
    cannot be reproduced.
    """

    var_x: Tensor  # (N, G, 1)
    var_y: Tensor  # (N, G, 1)
    cov: Tensor  # (N, G, 1)
    determinant: Tensor  # (N, G, 1)
    trace: Tensor  # (N, G, 1)
    is_plane: Tensor  # (N, G, 1)  bool; the positions span the plane, not a line or a point

    def distance2(
        self,
        dx: Tensor,  # (N, G, M)  pixels, between positions of the support or its mean
        dy: Tensor,  # (N, G, M)
    ) -> Tensor:  # (N, G, M)
        """The squared Mahalanobis length of each offset."""
        in_plane = (self.var_y * dx * dx - 2 * self.cov * dx * dy + self.var_x * dy * dy) / (
            self.determinant
        )
        on_line = (dx * dx + dy * dy) / self.trace
        distance2 = torch.where(self.is_plane, in_plane, on_line)
        return torch.where(self.trace > _ONE_POSITION_PX2, distance2, 0.0)


def fit_gaussian(
    support: Tensor,  # (N, G, K, 2)  (x, y), pixels
    is_key: Tensor,  # (N, G, K)  bool; which of them count
) -> tuple[Gaussian, Tensor]:  # and (N, G, K, 2)  float64, offsets from the mean, 0 if no key
    """Maximum likelihood (Eq. 2): mean and covariance divide by the number of key positions."""
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
    return Gaussian(var_x, var_y, cov, determinant, trace, is_plane), offset


def spread_over_positions(
    weights: Tensor,  # (N, G, K)
    positions: Tensor,  # (N, G, K)  int64
    number: int,  # A
) -> Tensor:  # (N, A)  0 where no weight falls
    """Each weight at its position; where several objects meet, the greatest counts."""
    importance = weights.new_zeros(weights.shape[0], number)
    return importance.scatter_reduce_(1, positions.flatten(1), weights.flatten(1), "amax")
