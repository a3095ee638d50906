"""Where and in which channels a feature map is strong (Eq. 7)."""

from __future__ import annotations

import torch
from torch import Tensor


def spatial_attention(
    feature: Tensor,  # (N, C, H, W)
    tau: float,
    sums_channels: bool = False,
) -> Tensor:  # (N, 1, H, W), mean 1 over each map
    """P = HW * softmax over positions of mean_c abs(F) / tau (Eq. 7).

    Departure: the paper sums abs(F) over channels (`sums_channels`), which the paper profile
    follows; the release and our release profile take the mean.
    """
    # The 1-norm sums abs(F) in one pass, without a map of abs(F).
    strength: Tensor = torch.linalg.vector_norm(feature, ord=1, dim=1, keepdim=True)
    if not sums_channels:
        strength = strength / feature.shape[1]
    attention = (strength.flatten(1) / tau).softmax(dim=1) * strength[0].numel()
    return attention.view_as(strength)


@torch.no_grad()
def channel_attention(
    feature: Tensor,  # (N, C, ...)
    tau: float,
) -> Tensor:  # (N, C, ...), mean 1 over the channels of each position
    """A = C * softmax over channels of abs(F) / tau, at every position (Eq. 7).

    Without gradient: where one is needed, `distances` has it.
    """
    attention = feature.abs().div_(tau)
    # A softmax in one buffer: towers are large, and fresh memory costs more than the arithmetic.
    attention.sub_(attention.amax(dim=1, keepdim=True)).exp_()
    return attention.mul_(feature.shape[1] / attention.sum(dim=1, keepdim=True))


def map_channel_attention(
    feature: Tensor,  # (N, C, H, W)
    tau: float,
) -> Tensor:  # (N, C), mean 1 over the channels
    """A = C * softmax over channels of mean_hw abs(F) / tau, one value a channel and image."""
    strength = feature.abs().mean(dim=(2, 3))
    return feature.shape[1] * (strength / tau).softmax(dim=1)
