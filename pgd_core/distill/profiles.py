"""Where the paper's equations and the authors' release part: the one place that says so.

Everything not named here is one code path for both profiles. Departures that both of ours make
from the release (its bugs) stand at the functions concerned.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Profile = Literal["release", "paper"]


@dataclass(frozen=True)
class ProfileRules:
    """What one profile does where paper and release differ."""

    spatial_attention_sums_channels: bool
    """Eq. 7 sums abs(F) over channels, the release takes the mean. At C = 256 the sum makes the
    attention nearly one-hot and the loss loses its meaning: for tests and studies only."""

    attention_losses_are_means: bool
    """Eq. 8 divides the spatial term by HW and the channel term by C; the release does neither."""

    reg_is_mean_over_batch_positives: bool
    """Release: the regression terms are sums over the level's key positions of the whole batch
    over their number, with the plain I of Eq. 3, the mean over channels in the feature term and
    the sum over channels in the attention term. Paper: Eq. 6 with M of Eq. 4, Eq. 9 with the
    mean over channels and key positions, each for an image, then the mean over images."""

    level_weight_step: float
    """The release weighs the classification feature loss by 1, 1.25, 1.5, ... from fine to
    coarse; Eq. 5 does not."""

    has_detector_tau: bool
    """The release trains AutoAssign with tau = 0.4; the paper prints 0.8 for all."""


RULES: dict[Profile, ProfileRules] = {
    "release": ProfileRules(
        spatial_attention_sums_channels=False,
        attention_losses_are_means=False,
        reg_is_mean_over_batch_positives=True,
        level_weight_step=0.25,
        has_detector_tau=True,
    ),
    "paper": ProfileRules(
        spatial_attention_sums_channels=True,
        attention_losses_are_means=True,
        reg_is_mean_over_batch_positives=False,
        level_weight_step=0.0,
        has_detector_tau=False,
    ),
}
