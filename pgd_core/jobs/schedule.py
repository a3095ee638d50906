"""How pictures come in and how a run trains."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from pgd_core.jobs.strict import Strict


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
    optimizer: Literal["sgd", "adamw"] = Field(
        "sgd", description="AdamW wants a far smaller learning_rate, about 0.0002."
    )
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
    weight_decay: float = Field(1e-4, ge=0, le=1, description="Of every trained parameter.")
    clip_grad_norm: float | None = Field(35.0, gt=0, description="L2; None: no clipping.")
    policy: Literal["step", "cosine"] = Field(
        "step", description="How the rate falls after the warm-up: at milestones, or by a cosine."
    )
    milestones: tuple[float, ...] = Field(
        (8 / 12, 11 / 12),
        max_length=8,
        description="Where the step policy divides the rate by ten, as fractions of the run.",
    )
    warmup_iterations: int = Field(500, ge=0, description="Linear; at most a third of the run.")
    warmup_factor: float = Field(
        0.001, gt=0, le=1, description="Learning-rate factor it starts at."
    )
    precision: Literal["fp32", "bf16", "fp16"] = Field(
        "fp32", description="Of the forward pass (autocast); fp16 needs a GPU."
    )
    seed: int = Field(
        0, ge=0, le=2**31 - 1, description="Of initial weights, order and augmentation."
    )
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
