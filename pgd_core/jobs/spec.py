"""What a user asks for: the job's spec, stored, hashed and dumped beside its artifacts.

Kinds: `train` (a teacher, or a plain student), `distill`, `evaluate`, `analyse`, `export`, `study`.
Unknown fields are refused; a field left out takes the default documented here. Fields that default
to None take the value of the detector's preset, or one that follows from the other fields, as their
line says.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, TypeAdapter, model_validator

from pgd_core.jobs.detector import BackboneName, BackboneSpec, DetectorName, DetectorSpec
from pgd_core.jobs.matrix import Matrix, Seed, TeacherName, with_choices
from pgd_core.jobs.methods import MethodSpec, PgdSpec
from pgd_core.jobs.presets import PRESETS, PresetName
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
    "ExportJob",
    "InputSpec",
    "JobSpec",
    "MethodSpec",
    "PgdSpec",
    "Strict",
    "StudyJob",
    "TeacherToTrain",
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
    method: MethodSpec = Field(PgdSpec(), description="What distils, and with which numbers.")
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
    batch_size: int = Field(8, ge=1, le=256, description="Pictures at once, over all GPUs.")
    workers: int = Field(2, ge=0, le=32, description="Processes per GPU that read pictures.")


class AnalyseJob(Strict):
    """See where a registered teacher predicts well: the paper's Figures 1 to 3 on a data set."""

    kind: Literal["analyse"]
    name: str = Field("", max_length=200, description="For people.")
    dataset: str = Field(max_length=64, description="Id of a registered data set.")
    teacher: str = Field(max_length=64, description="Id of a registered teacher.")
    input: InputSpec = InputSpec()
    batch_size: int = Field(8, ge=1, le=256, description="Pictures at once, over all GPUs.")
    workers: int = Field(2, ge=0, le=32, description="Processes per GPU that read pictures.")
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


class ExportJob(Strict):
    """Write a detector for use without torch: ONNX with and without NMS, float16 weights."""

    kind: Literal["export"]
    name: str = Field("", max_length=200, description="For people.")
    dataset: str = Field(
        max_length=64,
        description="Id of a registered data set with the detector's classes, on whose validation "
        "pictures the files are compared with torch.",
    )
    teacher: str = Field("", max_length=64, description="Id of a registered teacher, or `job`.")
    job: str = Field(
        "",
        max_length=64,
        description="Id of a `train` or `distill` job that succeeded: its detector or student.",
    )
    input: InputSpec | None = Field(
        None,
        description="Default: that of the job which made the detector; for one that came from "
        "outside, the defaults of `InputSpec`.",
    )
    score_threshold: float = Field(0.05, ge=0, lt=1, description="Of the boxes after NMS.")
    iou_threshold: float | None = Field(
        None, gt=0, le=1, description="Of the NMS; default: the detector's own."
    )
    max_detections: int | None = Field(
        None, ge=1, le=1000, description="Boxes of a picture; default 100, on CrowdHuman 500."
    )
    pictures: int = Field(8, ge=1, le=100, description="How many pictures are compared, at most.")

    @model_validator(mode="after")
    def _names_one_detector(self) -> ExportJob:
        if bool(self.teacher) == bool(self.job):
            raise ValueError("give the detector as `teacher` or as `job`, and not both")
        return self


class TeacherToTrain(Strict):
    """A teacher that a study trains before it distils from it."""

    model: DetectorSpec
    input: InputSpec | None = Field(None, description="Default: the study's.")
    training: TrainingSpec | None = Field(None, description="Default: the study's.")


MOST_CELLS = 500


class StudyJob(Strict):
    """Many distill jobs that differ in a few settings, and one table of what they came to."""

    kind: Literal["study"]
    name: str = Field("", max_length=200, description="For people.")
    dataset: str = Field(max_length=64, description="Id of a registered data set.")
    preset: PresetName | None = Field(
        None,
        description="Lay the study out as that table of the paper; a field that is given wins.",
    )
    teachers: dict[TeacherName, Annotated[str, Field(max_length=64)] | TeacherToTrain] = Field(
        {},
        max_length=32,
        description="By the name that the table shows: the id of a registered teacher, or one to "
        "train first. Every setting is tried with every teacher, unless a matrix names some.",
    )
    student: BackboneSpec | Literal["teacher"] | None = Field(
        None,
        description="The students' backbone; `teacher`: the teacher's own (self-distillation).",
    )
    method: MethodSpec = Field(PgdSpec(), description="What distils, and with which numbers.")
    inherit_head: bool | None = Field(
        True,
        description="Start every distilled student from its teacher's neck and head, so that only "
        "the distillation differs; null: as each method's authors do.",
    )
    references: tuple[Literal["plain", "head_only"], ...] = Field(
        ("plain", "head_only"),
        max_length=2,
        description="Students without distillation that the gains are measured over.",
    )
    input: InputSpec = InputSpec()
    training: TrainingSpec = TrainingSpec()
    matrices: tuple[Matrix, ...] = Field(
        (Matrix(),), min_length=1, max_length=32, description="What is tried."
    )
    seeds: tuple[Seed, ...] = Field(
        (0,), min_length=1, max_length=64, description="Every student is trained with each."
    )

    @model_validator(mode="before")
    @classmethod
    def _preset_fills_in(cls, given: Any) -> Any:
        preset = given.get("preset") if isinstance(given, dict) else None
        if not isinstance(preset, str):  # what is no text may not even be looked up
            return given
        return {**PRESETS[preset], **given} if preset in PRESETS else given

    @model_validator(mode="after")
    def _is_complete(self) -> StudyJob:
        if not self.teachers or self.student is None:
            raise ValueError("a study needs teachers and a student, or a preset that names them")
        strangers = {t for m in self.matrices for t in m.teachers} - set(self.teachers)
        if strangers:
            raise ValueError(
                f"matrices name {', '.join(sorted(strangers))}, which is none of the teachers "
                f"({', '.join(self.teachers)})"
            )
        for doubled in (self.seeds, self.references, *(m.seeds for m in self.matrices)):
            if len(set(doubled)) != len(doubled):
                raise ValueError(f"{doubled} names one twice")
        return self

    @model_validator(mode="after")
    def _every_cell_is_a_job(self) -> StudyJob:
        cells = sum(
            len(m.teachers or self.teachers) * len(m.seeds or self.seeds) * m.size
            for m in self.matrices
        )
        if cells > MOST_CELLS:
            raise ValueError(f"the matrices make {cells} students; at most {MOST_CELLS} in a study")
        base = self.base(None)
        for matrix in self.matrices:
            for choices in matrix.combinations:
                DistillJob.model_validate(with_choices(base, choices))
        return self

    def base(self, own_backbone: BackboneSpec | None) -> dict[str, Any]:
        """The distill job that the matrices vary, as JSON; its teacher is left open.

        `own_backbone` is the teacher's, for self-distillation.
        """
        student = self.student if isinstance(self.student, BackboneSpec) else own_backbone
        stand_in = BackboneSpec(name=BackboneName.RESNET50)
        return {
            "kind": "distill",
            "dataset": self.dataset,
            "teacher": "",
            "student": (student or stand_in).model_dump(mode="json"),
            "method": self.method.model_dump(mode="json"),
            "inherit_head": self.inherit_head,
            "measure_teacher": False,
            "input": self.input.model_dump(mode="json"),
            "training": self.training.model_dump(mode="json"),
        }


JobSpec = Annotated[
    TrainJob | DistillJob | EvaluateJob | AnalyseJob | ExportJob | StudyJob,
    Field(discriminator="kind"),
]
job_spec_adapter: TypeAdapter[JobSpec] = TypeAdapter(JobSpec)
