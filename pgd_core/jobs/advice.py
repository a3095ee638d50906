"""What is worth knowing before a job is queued: warnings, each with a way out. Nothing is refused.

`advice.py` says what a warning is and looks at the training; `data_advice.py` at the data set,
`placement_advice.py` at the pool and the team.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from pgd_core.jobs.data_facts import DataFacts
from pgd_core.jobs.detector import DetectorSpec
from pgd_core.jobs.machine import Placement
from pgd_core.jobs.schedule import TrainingSpec
from pgd_core.jobs.sizes import size_of
from pgd_core.jobs.spec import BackboneSpec, DistillJob, JobSpec, StudyJob, TrainJob

DEFAULT_EPOCHS = 12
USUAL_RATES = {  # at 32 pictures a step: this project's preset, and MMDetection's for AdamW
    "sgd": 0.02,
    "adamw": 0.0002,
}
USUAL_BATCH = 32
FAR = 4.0  # times the usual rate, or as many times under it
FEW_STEPS = 500  # of the optimiser: the default warm-up alone
WIDE = 4.0  # times the backbone's parameters in neck and head


@dataclass(frozen=True)
class Advice:
    """One warning."""

    code: str  # stable
    pointer: str  # JSON pointer into the spec; "" where `parameter` says it
    message: str  # with the value and the way out
    parameter: str = ""  # of the request's query, such as "min_memory_mb"


@dataclass(frozen=True)
class Asked:
    """A job that was asked for, with what its ids stand for."""

    spec: JobSpec
    placement: Placement
    classes: int
    facts: DataFacts
    teachers: tuple[DetectorSpec, ...] = ()  # registered ones that it names


@dataclass(frozen=True)
class Run:
    """One training that the job comes to: of a study, that of its base with one teacher."""

    job: TrainJob | DistillJob
    detector: DetectorSpec  # that is trained
    teacher: DetectorSpec | None = None

    @property
    def method(self) -> str:
        """The name of what distils; "none" without a teacher."""
        return self.job.method.name if isinstance(self.job, DistillJob) else "none"


def runs_of(asked: Asked) -> list[Run]:
    """The trainings, a study's matrices left out."""
    spec = asked.spec
    if isinstance(spec, TrainJob):
        return [Run(spec, spec.model)]
    if isinstance(spec, DistillJob):
        return [_distilled(spec, teacher) for teacher in asked.teachers]
    if not isinstance(spec, StudyJob):
        return []
    to_train = [given.model for given in spec.teachers.values() if not isinstance(given, str)]
    return [
        _distilled(DistillJob.model_validate(spec.base(teacher.backbone)), teacher)
        for teacher in (*asked.teachers, *to_train)
    ]


def training_advice(asked: Asked) -> Iterator[Advice]:
    """About students, learning rates and lengths; of a study's runs each thing once."""
    found: dict[tuple[str, str], Advice] = {}
    for run in runs_of(asked):
        for one in (*_of_training(run.job.training, asked.facts), *_of_student(run, asked)):
            found.setdefault((one.code, one.pointer), one)
    yield from found.values()


def steps_of(training: TrainingSpec, pictures: int) -> int:
    """Of the optimiser, in one run."""
    epochs = training.epochs or DEFAULT_EPOCHS
    return training.iterations or max(1, round(epochs * pictures / training.batch_size))


def _distilled(job: DistillJob, teacher: DetectorSpec) -> Run:
    return Run(job, teacher.model_copy(update={"backbone": job.student}), teacher)


def _of_training(training: TrainingSpec, facts: DataFacts) -> Iterator[Advice]:
    usual = USUAL_RATES[training.optimizer] * training.batch_size / USUAL_BATCH
    stated_for = training.learning_rate_batch or training.batch_size
    rate = training.learning_rate * training.batch_size / stated_for
    if not usual / FAR <= rate <= usual * FAR:
        yield Advice(
            "learning_rate_far_from_usual",
            "/training/learning_rate",
            f"the learning rate comes to {rate:.3g} at batch_size {training.batch_size}; usual for "
            f"{training.optimizer} is {usual:.3g}. Give learning_rate "
            f"{USUAL_RATES[training.optimizer]:g} with learning_rate_batch {USUAL_BATCH}, unless "
            "this is meant",
        )
    pictures = facts.with_objects
    steps = steps_of(training, pictures)
    if pictures and steps < FEW_STEPS:
        yield Advice(
            "short_training",
            "/training/iterations" if training.iterations else "/training/epochs",
            f"{pictures} pictures in batches of {training.batch_size} come to {steps} steps of the "
            f"optimiser, and under {FEW_STEPS} a detector hardly learns; give more epochs, such as "
            f"{-(-FEW_STEPS * training.batch_size // pictures)}, or a smaller batch_size",
        )


def _of_student(run: Run, asked: Asked) -> Iterator[Advice]:
    if run.teacher is None or not isinstance(run.job, DistillJob):
        return
    student, teacher = size_of(run.detector, asked.classes), size_of(run.teacher, asked.classes)
    if student and teacher and student.parameters >= teacher.parameters:
        yield Advice(
            "student_not_smaller",
            "/student",
            f"the student on {_named(run.job.student)} has {student.parameters:,} parameters, its "
            f"teacher on {_named(run.teacher.backbone)} {teacher.parameters:,}; choose a smaller "
            "backbone, unless self-distillation is meant",
        )
    elif student and student.neck_and_head > WIDE * student.backbone:
        yield Advice(
            "head_wide_for_student",
            "/student",
            f"neck and head, which are the teacher's (head_width {run.teacher.head_width}), have "
            f"{student.neck_and_head:,} parameters and the backbone {student.backbone:,}: most of "
            "the student's cost is theirs; distil from a teacher with a narrower head_width",
        )
    if run.job.inherit_head is False and run.job.method.starts_from_teachers_head:
        yield Advice(
            "head_not_inherited",
            "/inherit_head",
            f"the authors of {run.job.method.title} start the student from its teacher's neck and "
            "head, and without them it gains less; leave inherit_head out, or give true",
        )


def _named(backbone: BackboneSpec) -> str:
    return backbone.name + (f" at width {backbone.width:g}" if backbone.width != 1 else "")
