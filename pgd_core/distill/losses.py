"""The losses of one FPN level (Eqs. 5, 6, 8, 9); Eq. 10 is their sum over terms and levels.

Where paper and release are silent on the batch, a term is the mean over its N images, so that
it does not depend on the batch size. Teacher tensors carry no gradient.
"""

from __future__ import annotations

import torch
from torch import Tensor

from pgd_core.distill.attention import channel_attention, spatial_attention
from pgd_core.distill.distances import weighted_attention_distance, weighted_squared_error
from pgd_core.distill.parameters import PgdParameters
from pgd_core.distill.weighting import normalise


def cls_losses(
    teacher: Tensor,  # (N, C, H, W)
    student: Tensor,  # (N, C, H, W)
    importance: Tensor,  # (N, H, W)  I^cls
    background: Tensor,  # (N, H, W)  1 in no object's box
    hyper: PgdParameters,
    level_weight: float,
) -> Tensor:  # (3,)  weighted
    """Feature loss (Eq. 5), spatial and channel attention loss (Eq. 8), means over images.

    Departure: the release weighs the feature loss by level, and its attention losses lack
    Eq. 8's 1/HW (spatial) and 1/C (channel); so does the release profile.
    """
    images, channels = teacher.shape[:2]
    area = teacher[0, 0].numel()
    sums_channels = hyper.rules.spatial_attention_sums_channels
    is_mean = hyper.rules.attention_losses_are_means
    with torch.no_grad():
        spatial = spatial_attention(teacher, hyper.tau, sums_channels)
        channel = channel_attention(teacher, hyper.tau)
        mask = hyper.alpha * normalise(importance) + hyper.beta * normalise(background)
        weight = level_weight * mask[:, None] * spatial / images
        share = hyper.delta / (images * area * (channels if is_mean else 1))
        everywhere = weight.new_tensor(share).expand_as(weight)
    distance = (spatial - spatial_attention(student, hyper.tau, sums_channels)).abs().sum()
    return torch.stack(
        [
            weighted_squared_error(student, teacher, channel, weight),
            hyper.delta / (images * (area if is_mean else 1)) * distance,
            weighted_attention_distance(student, channel, everywhere, hyper.tau),
        ]
    )


def reg_losses(
    teacher: Tensor,  # (N, C, H, W)
    student: Tensor,  # (N, C, H, W)
    importance: Tensor,  # (N, H, W)  I^reg
    most_keys: int,
    hyper: PgdParameters,
) -> Tensor:  # (2,)  weighted
    """Feature loss (Eq. 6) and attention loss (Eq. 9).

    Only the key positions count. An image has at most `most_keys`: where a level is larger, only
    they are gathered. A level without key positions contributes 0.

    Departure: the release, and the release profile, divide both sums by the level's key
    positions of the batch, take the mean over channels of the feature loss and the sum of the
    attention loss, and the plain I instead of M.
    """
    images, channels = teacher.shape[:2]
    keys, teacher, student = importance.flatten(1), teacher.flatten(2), student.flatten(2)
    if most_keys < keys.shape[1]:
        keys, positions = keys.topk(most_keys, dim=1)
        index = positions[:, None].expand(-1, channels, -1)
        teacher, student = teacher.gather(2, index), student.gather(2, index)
    is_key = (keys > 0).to(keys.dtype)
    if hyper.rules.reg_is_mean_over_batch_positives:
        share = is_key / is_key.sum().clamp(min=1)
        feature_weight, attention_weight = keys * share / channels, share
    else:
        share = is_key / is_key.sum(dim=1, keepdim=True).clamp(min=1) / images
        feature_weight, attention_weight = keys * share, share / channels
    attention = channel_attention(teacher, hyper.tau)
    return torch.stack(
        [
            weighted_squared_error(
                student, teacher, attention, hyper.gamma * feature_weight[:, None]
            ),
            weighted_attention_distance(
                student, attention, hyper.delta * attention_weight[:, None], hyper.tau
            ),
        ]
    )
