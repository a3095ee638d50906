"""Where and in which channels a feature map is strong (Eq. 7)."""

from __future__ import annotations

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
    strength = feature.abs().mean(dim=1, keepdim=True)
    if sums_channels:
        strength = strength * feature.shape[1]
    attention = (strength.flatten(1) / tau).softmax(dim=1) * strength[0].numel()
    return attention.view_as(strength)


def channel_attention(
    feature: Tensor,  # (N, C, ...)
    tau: float,
) -> Tensor:  # (N, C, ...), mean 1 over the channels of each position
    """A = C * softmax over channels of abs(F) / tau, at every position (Eq. 7)."""
    return feature.abs().div_(tau).softmax(dim=1) * feature.shape[1]
