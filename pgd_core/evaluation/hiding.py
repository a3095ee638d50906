"""What a detector finds when its best predictions are taken away before NMS (Fig. 3).

Letters: N images, A positions over all levels.

The paper hides "the top-X% predictions" by quality (Eq. 1) and says once that they are "of all
anchor positions bounded by the GT box". It leaves open whether 1 % is of those positions or of
the whole picture's; both are offered. Ranking and count are of each picture, over all its objects
and levels together. A position's quality is its greatest over the objects.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn

from pgd_core.detectors.predictions import Outputs
from pgd_core.distill.weighting import split_levels


def best_of_objects(
    quality: Tensor,  # (N, G, A)
) -> Tensor:  # (N, A)
    """Each position's greatest quality over the objects; 0 where there are no objects."""
    if quality.shape[1] == 0:
        return quality.new_zeros(quality.shape[0], quality.shape[2])
    return quality.amax(dim=1)


def hidden_positions(
    quality: Tensor,  # (N, A)  of Eq. 1, greatest over the objects
    pool: Tensor,  # (N, A)  bool; what the share is of
    percent: float,  # 0 to 100
) -> Tensor:  # (N, A)  bool
    """The best `percent` of each image's pool, rounded up to whole positions.

    Among equals the finer level and the upper left come first.
    """
    share = pool.sum(dim=1).double() * percent / 100
    count = torch.ceil(share - 1e-9)  # 4.000000001 by rounding errors is 4
    ranking = torch.where(pool, quality, -math.inf)
    order = ranking.argsort(dim=1, descending=True, stable=True)
    ranks = torch.arange(order.shape[1], device=order.device)
    hidden = (ranks < count[:, None]).expand_as(order)
    return torch.zeros_like(pool).scatter(1, order, hidden)


def detect_without(
    head: nn.Module,
    outputs: Outputs,
    metas: Sequence[dict[str, Any]],  # N of MMDetection's
    hidden: Tensor,  # (N, A)  bool
) -> list[Any]:  # N of MMDetection's InstanceData, boxes in pixels of the original pictures
    """The head's own thresholds and NMS, where hidden positions give probability 0 to all classes.

    With nothing hidden this is exactly what the detector finds.
    """
    class_scores, *others = outputs
    sizes = tuple((int(level.shape[-2]), int(level.shape[-1])) for level in class_scores)
    masked = [
        scores.clone().masked_fill_(at_level[:, None], -math.inf)  # clone: the same memory layout
        for scores, at_level in zip(class_scores, split_levels(hidden, sizes), strict=True)
    ]
    with torch.no_grad():
        found = cast(Any, head).predict_by_feat(
            masked, *others, batch_img_metas=list(metas), rescale=True
        )
    return list(found)
