"""The hyper-parameters of Prediction-Guided Distillation, and the values for each detector."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, cast, get_args

from pgd_core.distill.profiles import RULES, Profile, ProfileRules
from pgd_core.errors import InvalidSpec

Strategy = Literal["box", "box_gauss", "centre", "quality", "topk_eq", "kde", "pgw"]
Branches = Literal["neck", "cls", "reg", "cls+reg"]
STRATEGIES: tuple[Strategy, ...] = get_args(Strategy)
BRANCHES: tuple[Branches, ...] = get_args(Branches)

_FROM_ALPHA = cast(float, None)  # stands for "derive from alpha" until __post_init__

# The paper prints alpha "0.8 / 0.4", a misprint: its Table 6b sweeps 0.005 to 0.2. These are the
# values of the released configurations.
_ALPHA = {"atss": 0.08, "ddod": 0.08, "autoassign": 0.08, "fcos": 0.04, "gfl": 0.04}
_ALPHA_OF_BACKBONE = {("atss", "mobilenet_v2"): 0.04}
_ALPHA_OF_DATASET = {("ddod", "crowdhuman"): 0.001}
_TAU = {"autoassign": 0.4}


@dataclass(frozen=True)
class PgdParameters:
    """The paper's letters. `preset` gives the values for a detector; the defaults are ATSS's.

    beta and gamma follow alpha when they are made, not later: to change alpha of a preset with
    `dataclasses.replace`, pass beta=None and gamma=None as well.

    Departure: the released ATSS configuration has K = 9; Table 6a favours 30, which is ours.
    """

    xi_cls: float = 0.8
    """Share of localisation in the quality that places the classification mask (Eq. 1)."""
    xi_reg: float = 0.6
    """The same for the regression mask."""
    top_k: int = 30
    """K: key positions kept for each object, over all levels."""
    alpha: float = 0.08
    """Weight of the foreground in the classification feature loss (Eq. 5)."""
    beta: float = _FROM_ALPHA
    """Weight of the background in the classification feature loss (Eq. 5); 0.5 alpha if None."""
    gamma: float = _FROM_ALPHA
    """Weight of the regression feature loss (Eq. 6); 1.6 alpha if None."""
    delta: float = 0.0008
    """Weight of the attention losses (Eqs. 8, 9; printed sigma)."""
    tau: float = 0.8
    """Temperature of the attention maps (Eq. 7)."""
    level_weights: tuple[float, ...] | None = None
    """Weight of each level's classification feature loss, fine to coarse; the profile's if None:
    1, 1.25, 1.5, ... for release, 1 for paper."""
    profile: Profile = "release"
    """"release" trains with the normalisations behind the published numbers, "paper" with the
    printed equations."""
    strategy: Strategy = "pgw"
    """Where an object is distilled, and how strongly (Table 5); "pgw" is the paper's."""
    branches: Branches = "cls+reg"
    """Which features are distilled (Table 7). "neck" puts the classification losses and masks on
    the neck's output, and no regression loss."""

    def __post_init__(self) -> None:
        if cast(float | None, self.beta) is None:
            object.__setattr__(self, "beta", 0.5 * self.alpha)
        if cast(float | None, self.gamma) is None:
            object.__setattr__(self, "gamma", 1.6 * self.alpha)
        self._check()

    @classmethod
    def preset(
        cls,
        detector: str,
        backbone_family: str = "resnet",
        profile: Profile = "release",
        *,
        dataset: str = "coco",
    ) -> PgdParameters:
        """The authors' values for a detector, a student's backbone family and a data set.

        Families and data sets without values of their own get the detector's. An unknown
        detector is InvalidSpec.
        """
        if detector not in _ALPHA:
            raise InvalidSpec(f"detector {detector!r} has no preset; choose from {sorted(_ALPHA)}")
        alpha = _ALPHA_OF_BACKBONE.get((detector, backbone_family), _ALPHA[detector])
        alpha = _ALPHA_OF_DATASET.get((detector, dataset), alpha)
        parameters = cls(alpha=alpha, profile=profile)
        if parameters.rules.has_detector_tau:
            return cls(alpha=alpha, profile=profile, tau=_TAU.get(detector, parameters.tau))
        return parameters

    @property
    def parts(self) -> tuple[str, ...]:
        """The features that are distilled: "neck", or "cls" and "reg" or one of them."""
        return tuple(self.branches.split("+"))

    @property
    def rules(self) -> ProfileRules:
        """What the profile does where paper and release differ."""
        return RULES[self.profile]

    def weights_of_levels(self, levels: int) -> tuple[float, ...]:
        """One weight for each of that many levels; InvalidSpec if others were given."""
        if self.level_weights is None:
            return tuple(1 + self.rules.level_weight_step * level for level in range(levels))
        if len(self.level_weights) != levels:
            raise InvalidSpec(
                f"level_weights has {len(self.level_weights)} values and the detector {levels} "
                f"levels; give one a level, or none for the profile's"
            )
        return self.level_weights

    def _check(self) -> None:
        for name, known in (
            ("profile", sorted(RULES)),
            ("strategy", list(STRATEGIES)),
            ("branches", list(BRANCHES)),
        ):
            if getattr(self, name) not in known:
                raise InvalidSpec(f"{name} is {getattr(self, name)!r}; choose from {known}")
        for name in ("xi_cls", "xi_reg"):
            if not 0 <= getattr(self, name) <= 1:
                raise InvalidSpec(f"{name} is {getattr(self, name)}; it is a share, from 0 to 1")
        if self.top_k < 1:
            raise InvalidSpec(f"top_k is {self.top_k}; keep at least 1 position an object")
        if not (math.isfinite(self.tau) and self.tau > 0):
            raise InvalidSpec(f"tau is {self.tau}; a temperature is above 0")
        weights = {name: getattr(self, name) for name in ("alpha", "beta", "gamma", "delta")}
        weights |= {f"level_weights[{i}]": w for i, w in enumerate(self.level_weights or ())}
        for name, weight in weights.items():
            if not (math.isfinite(weight) and weight >= 0):
                raise InvalidSpec(f"{name} is {weight}; a loss weight is finite and not negative")
