"""What a detector is made of: backbone → FPN neck → dense head."""

from __future__ import annotations

import re
from difflib import get_close_matches
from enum import StrEnum
from typing import Annotated

from pydantic import Field, StringConstraints, field_validator, model_validator

from pgd_core.jobs.strict import Strict


class DetectorName(StrEnum):
    FCOS = "fcos"
    AUTOASSIGN = "autoassign"
    ATSS = "atss"
    GFL = "gfl"
    DDOD = "ddod"


class BackboneName(StrEnum):
    RESNET18 = "resnet18"
    RESNET34 = "resnet34"
    RESNET50 = "resnet50"
    RESNET101 = "resnet101"
    MOBILENET_V2 = "mobilenet_v2"


OF_TIMM = "timm/"
_TIMM_NAME = rf"^{OF_TIMM}[a-z0-9][a-z0-9_]{{0,79}}(\.[a-z0-9_]{{1,47}})?$"
TimmName = Annotated[str, StringConstraints(pattern=_TIMM_NAME)]


class BackboneSpec(Strict):
    """The feature extractor of a detector."""

    name: BackboneName | TimmName = Field(
        description="Architecture; `timm/NAME` is any network of timm with feature maps at strides "
        "8, 16 and 32, such as `timm/mobilenetv3_small_100`. The trainer checks NAME."
    )
    width: float = Field(
        1.0, ge=0.25, le=1.4, description="Width multiplier; MobileNetV2 only, 1 for a ResNet."
    )
    weights: str = Field(
        "none",
        pattern=r"^(none|imagenet|file:[A-Za-z0-9][A-Za-z0-9._-]{0,127})$",
        description="Where training starts: `none` (random), `imagenet` (downloaded by MMEngine's "
        "loader; not for timm), or `file:NAME`, a file of the server's weights folder.",
    )
    frozen_stages: int | None = Field(
        None,
        ge=-1,
        le=7,
        description="Stages that are not trained; default 1 with weights, else -1. None of timm.",
    )
    freeze_batch_norm: bool | None = Field(
        None,
        description="Keep BatchNorm's statistics and affine terms; default: with weights only.",
    )

    @property
    def timm_name(self) -> str | None:
        """The network's name in timm; None for one of MMDetection's own."""
        return self.name.removeprefix(OF_TIMM) if self.name.startswith(OF_TIMM) else None

    @field_validator("name", mode="before")
    @classmethod
    def _name_is_one_of_ours_or_of_timm(cls, name: object) -> object:
        own = [each.value for each in BackboneName]
        if isinstance(name, str) and name not in own and not re.match(_TIMM_NAME, name):
            close = get_close_matches(name, own, n=1)
            raise ValueError(
                f"{name!r} is none of {', '.join(own)} and no `{OF_TIMM}NAME`"
                + (f"; did you mean {close[0]!r}?" if close else "")
            )
        return name

    @model_validator(mode="after")
    def _timm_starts_from_a_file_and_freezes_no_stage(self) -> BackboneSpec:
        if self.timm_name is None:
            return self
        if self.weights == "imagenet":
            raise ValueError(
                f"ImageNet weights of {self.name} are not downloaded; put the file of timm's "
                "weights into the server's weights folder and use 'file:NAME', or use 'none'"
            )
        if self.frozen_stages not in (None, -1):
            raise ValueError(
                f"frozen_stages {self.frozen_stages}: stages of {self.name} are not known; leave "
                "it out, or give -1"
            )
        return self

    @model_validator(mode="after")
    def _width_is_for_mobilenet(self) -> BackboneSpec:
        if self.width != 1.0 and self.name is not BackboneName.MOBILENET_V2:
            raise ValueError(f"width {self.width} is for mobilenet_v2; {self.name} takes 1")
        if self.weights == "imagenet" and self.width != 1.0:
            raise ValueError(
                f"ImageNet weights exist for width 1 only, not {self.width}; use weights 'none' "
                "or 'file:NAME'"
            )
        return self

    @model_validator(mode="after")
    def _stages_exist(self) -> BackboneSpec:
        if (self.frozen_stages or 0) > 4 and self.name is not BackboneName.MOBILENET_V2:
            raise ValueError(
                f"frozen_stages {self.frozen_stages}: a ResNet has 4 stages; give -1 to 4"
            )
        return self


class DetectorSpec(Strict):
    """A detector: backbone → FPN neck → dense head."""

    detector: DetectorName = Field(description="The dense head.")
    backbone: BackboneSpec
    head_width: int = Field(
        256, ge=16, le=1024, description="Channels of the neck and of the head's towers."
    )
    head_convs: int = Field(4, ge=1, le=8, description="Convolutions in each of the two towers.")
    norm_groups: int = Field(
        32, ge=1, le=128, description="Groups of the towers' GroupNorm; divides head_width."
    )

    @model_validator(mode="after")
    def _groups_divide_width(self) -> DetectorSpec:
        if self.head_width % self.norm_groups:
            raise ValueError(
                f"norm_groups {self.norm_groups} does not divide head_width {self.head_width}"
            )
        return self
