"""What a user asks for: the job's spec, stored, hashed and dumped beside its artifacts.

Kinds: `train` (a teacher, or a plain student), `distill`, `evaluate`, `analyse`. Unknown fields are
refused; a field left out takes the default documented here. Fields that default to None take the
value of the detector's preset, or one that follows from the other fields, as their line says.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, TypeAdapter, model_validator

from pgd_core.jobs.detector import BackboneName, BackboneSpec, DetectorName, DetectorSpec
from pgd_core.jobs.methods import MethodSpec, PgdSpec
from pgd_core.jobs.schedule import InputSpec, TrainingSpec
from pgd_core.jobs.strict import Strict

__all__ = [
    "AnalyseJob",
    "BackboneName",
    "BackboneSpec",
    "DetectorName",
    "DetectorSpec",
    "DistillJob",
    "EvaluateJob",
    "InputSpec",
    "JobSpec",
    "MethodSpec",
    "PgdSpec",
    "Strict",
    "TrainJob",
    "TrainingSpec",
    "job_spec_adapter",
]


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
    method: MethodSpec = PgdSpec()
    inherit_head: bool | None = Field(
        None,
        description="Start from the teacher's neck and head; default: as the method's authors do "
        "(yes for `fgd` and for `pgd` with the release profile).",
    )
    twins: tuple[Literal["plain", "head_only"], ...] = Field(
        (),
        max_length=2,
        description="The same student, seed, schedule without distillation, to measure the gain: "
        "`plain`, and `head_only` (with the inherited head).",
    )
    measure_teacher: bool = Field(
        True, description="Evaluate the teacher on the validation pictures first."
    )
    input: InputSpec = InputSpec()
    training: TrainingSpec = TrainingSpec()

    @property
    def inherits_head(self) -> bool:
        """Whether the distilled student starts from the teacher's neck and head."""
        if self.inherit_head is None:
            return self.method.starts_from_teachers_head
        return self.inherit_head

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


class AnalyseJob(Strict):
    """See where a registered teacher predicts well: the paper's Figures 1 to 3 on a data set."""

    kind: Literal["analyse"]
    name: str = Field("", max_length=200, description="For people.")
    dataset: str = Field(max_length=64, description="Id of a registered data set.")
    teacher: str = Field(max_length=64, description="Id of a registered teacher.")
    input: InputSpec = InputSpec()
    batch_size: int = Field(8, ge=1, le=256)
    workers: int = Field(2, ge=0, le=32)
    pictures: int = Field(
        6, ge=0, le=24, description="How many validation pictures with objects are drawn."
    )
    hide_percents: tuple[Annotated[float, Field(ge=0, le=100)], ...] = Field(
        (0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10),
        min_length=1,
        max_length=101,
        description="Shares of the best predictions to hide before NMS, rising from 0.",
    )
    hide_among: tuple[Literal["boxes", "picture"], ...] = Field(
        ("boxes", "picture"),
        max_length=2,
        description="What a share is of: a picture's positions inside objects' boxes, or all of "
        "its positions; a curve for each. None: no curve.",
    )
    xi_cls: float = Field(0.8, ge=0, le=1, description="Weight of localisation in Eq. 1.")
    xi_reg: float = Field(0.6, ge=0, le=1, description="The same for the regression branch.")
    top_k: int = Field(30, ge=1, le=1000, description="Key positions per object, of the masks.")

    @model_validator(mode="after")
    def _shares_rise_from_0(self) -> AnalyseJob:
        percents = self.hide_percents
        if percents[0] != 0 or list(percents) != sorted(set(percents)):
            raise ValueError(f"hide_percents {percents} must rise, and start at 0")
        if len(set(self.hide_among)) != len(self.hide_among):
            raise ValueError(f"hide_among {self.hide_among} names one twice")
        return self


JobSpec = Annotated[TrainJob | DistillJob | EvaluateJob | AnalyseJob, Field(discriminator="kind")]
job_spec_adapter: TypeAdapter[JobSpec] = TypeAdapter(JobSpec)
