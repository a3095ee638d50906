"""What a user asks for: the job's spec, stored, hashed and dumped beside its artifacts.

Three kinds: `train` (a teacher, or a plain student), `distill`, `evaluate`. Unknown fields are
refused; a field left out takes the default documented here. Fields that default to None take the
value of the detector's preset, or one that follows from the other fields, as their line says.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, model_validator


class Strict(BaseModel):
    """A frozen model that refuses unknown fields, NaN and infinity."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


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


class InputSpec(Strict):
    """How pictures are resized and augmented."""

    long_side: int = Field(1333, ge=32, le=4096, description="Largest long side, pixels.")
    short_side: int = Field(800, ge=32, le=4096, description="Largest short side, pixels.")
    multi_scale_short_sides: tuple[Annotated[int, Field(ge=32, le=4096)], ...] = Field(
        (), max_length=16, description="Short sides to draw from in training; empty: one scale."
    )
    flip_probability: float = Field(0.5, ge=0, le=1, description="Horizontal flip in training.")
    size_divisor: int = Field(
        32, ge=1, le=128, description="Pictures are padded to multiples of it."
    )

    @model_validator(mode="after")
    def _long_is_long(self) -> InputSpec:
        if self.long_side < self.short_side:
            raise ValueError(f"long_side {self.long_side} is under short_side {self.short_side}")
        return self


class TrainingSpec(Strict):
    """Schedule, optimiser and numerics of one run."""

    epochs: int | None = Field(
        None, ge=1, le=1000, description="Length; 12 (1x) when none is given."
    )
    iterations: int | None = Field(
        None, ge=1, le=10_000_000, description="Length, instead of epochs."
    )
    batch_size: int = Field(
        16, ge=1, le=1024, description="Images per optimiser step, over all GPUs and accumulation."
    )
    accumulation: int = Field(
        1, ge=1, le=64, description="Forward passes per optimiser step; divides batch_size."
    )
    optimizer: Literal["sgd", "adamw"] = "sgd"
    learning_rate: float = Field(
        0.02, gt=0, le=10, description="At `learning_rate_batch` images per step."
    )
    learning_rate_batch: int | None = Field(
        32,
        ge=1,
        le=4096,
        description="Batch that learning_rate is stated for; it is scaled linearly to batch_size. "
        "None: not scaled.",
    )
    momentum: float = Field(0.9, ge=0, lt=1, description="SGD only.")
    weight_decay: float = Field(1e-4, ge=0, le=1)
    clip_grad_norm: float | None = Field(35.0, gt=0, description="L2; None: no clipping.")
    policy: Literal["step", "cosine"] = "step"
    milestones: tuple[float, ...] = Field(
        (8 / 12, 11 / 12),
        max_length=8,
        description="Where the step policy divides the rate by ten, as fractions of the run.",
    )
    warmup_iterations: int = Field(500, ge=0, description="Linear; at most a third of the run.")
    warmup_factor: float = Field(
        0.001, gt=0, le=1, description="Learning-rate factor it starts at."
    )
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    seed: int = Field(0, ge=0, le=2**31 - 1)
    workers: int = Field(2, ge=0, le=32, description="Processes per GPU that read pictures.")
    validation_interval: float = Field(
        1, gt=0, le=1000, description="Epochs between validations, each with a checkpoint."
    )
    keep: Literal["best", "last"] = Field(
        "last", description="Which checkpoint becomes the output."
    )

    @model_validator(mode="after")
    def _one_length(self) -> TrainingSpec:
        if self.epochs is not None and self.iterations is not None:
            raise ValueError("give epochs or iterations, not both")
        if self.batch_size % self.accumulation:
            raise ValueError(
                f"accumulation {self.accumulation} does not divide batch_size {self.batch_size}"
            )
        if any(not 0 < m < 1 for m in self.milestones) or list(self.milestones) != sorted(
            self.milestones
        ):
            raise ValueError(f"milestones {self.milestones} must rise within (0, 1)")
        return self


class PgdSpec(Strict):
    """Prediction-Guided Distillation; None takes the teacher detector's preset."""

    name: Literal["pgd"] = "pgd"
    profile: Literal["release", "paper"] = Field(
        "release",
        description="Normalisations of the authors' release, or the equations to the letter.",
    )
    xi_cls: float = Field(
        0.8, ge=0, le=1, description="Weight of localisation in Eq. 1, cls branch."
    )
    xi_reg: float = Field(
        0.6, ge=0, le=1, description="Weight of localisation in Eq. 1, reg branch."
    )
    top_k: int = Field(30, ge=1, le=1000, description="Key positions per object.")
    alpha: float | None = Field(None, ge=0, description="Foreground weight, cls features; preset.")
    beta: float | None = Field(None, ge=0, description="Background weight; default alpha / 2.")
    gamma: float | None = Field(
        None, ge=0, description="Foreground weight, reg features; 1.6 alpha."
    )
    delta: float = Field(0.0008, ge=0, description="Weight of the attention losses.")
    tau: float | None = Field(None, gt=0, description="Temperature of the attention maps; preset.")


class TrainJob(Strict):
    """Train a detector plainly: a teacher, or a student to compare with."""

    kind: Literal["train"]
    name: str = Field("", max_length=200, description="For people.")
    dataset: str = Field(max_length=64, description="Id of a registered data set.")
    model: DetectorSpec
    input: InputSpec = InputSpec()
    training: TrainingSpec = TrainingSpec()


class DistillJob(Strict):
    """Distil a light student from a registered teacher."""

    kind: Literal["distill"]
    name: str = Field("", max_length=200, description="For people.")
    dataset: str = Field(max_length=64, description="Id of a registered data set.")
    teacher: str = Field(max_length=64, description="Id of a registered teacher.")
    student: BackboneSpec = Field(description="Neck and head are the teacher's architecture.")
    method: PgdSpec = PgdSpec()
    inherit_head: bool | None = Field(
        None,
        description="Start from the teacher's neck and head; default: with the release profile.",
    )
    twins: tuple[Literal["plain", "head_only"], ...] = Field(
        (),
        max_length=2,
        description="The same student, seed, schedule without distillation, to measure the gain: "
        "`plain`, and `head_only` (with the inherited head).",
    )
    input: InputSpec = InputSpec()
    training: TrainingSpec = TrainingSpec()

    @property
    def inherits_head(self) -> bool:
        """Whether the distilled student starts from the teacher's neck and head."""
        return self.method.profile == "release" if self.inherit_head is None else self.inherit_head

    @model_validator(mode="after")
    def _twins_make_sense(self) -> DistillJob:
        if len(set(self.twins)) != len(self.twins):
            raise ValueError(f"twins {self.twins} names one twice")
        if "head_only" in self.twins and not self.inherits_head:
            raise ValueError("the twin 'head_only' needs inherit_head: true")
        return self


class EvaluateJob(Strict):
    """Measure a registered teacher on a data set's validation pictures."""

    kind: Literal["evaluate"]
    name: str = Field("", max_length=200, description="For people.")
    dataset: str = Field(max_length=64, description="Id of a registered data set.")
    teacher: str = Field(max_length=64, description="Id of a registered teacher.")
    input: InputSpec = InputSpec()
    batch_size: int = Field(8, ge=1, le=256)
    workers: int = Field(2, ge=0, le=32)


JobSpec = Annotated[TrainJob | DistillJob | EvaluateJob, Field(discriminator="kind")]
job_spec_adapter: TypeAdapter[JobSpec] = TypeAdapter(JobSpec)
