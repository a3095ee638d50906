"""What a detector is made of: backbone → FPN neck → dense head."""

from __future__ import annotations

from enum import StrEnum

from pydantic import Field, model_validator

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


class BackboneSpec(Strict):
    """The feature extractor of a detector."""

    name: BackboneName = Field(description="Architecture.")
    width: float = Field(
        1.0, ge=0.25, le=1.4, description="Width multiplier; MobileNetV2 only, 1 for a ResNet."
    )
    weights: str = Field(
        "none",
        pattern=r"^(none|imagenet|file:[A-Za-z0-9][A-Za-z0-9._-]{0,127})$",
        description="Where training starts: `none` (random), `imagenet` (downloaded by MMEngine's "
        "loader), or `file:NAME`, a file of the server's weights folder.",
    )
    frozen_stages: int | None = Field(
        None,
        ge=-1,
        le=7,
        description="Stages that are not trained; default 1 with weights, else -1.",
    )
    freeze_batch_norm: bool | None = Field(
        None,
        description="Keep BatchNorm's statistics and affine terms; default: with weights only.",
    )

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
