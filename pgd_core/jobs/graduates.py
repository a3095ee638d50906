"""The detector that a finished job made, as a teacher to be."""

from __future__ import annotations

from dataclasses import dataclass

from pgd_core.errors import FieldProblem, InvalidSpec, NotFound, NotReady
from pgd_core.jobs.job import Artifact, Job, JobState
from pgd_core.jobs.protocols import JobStore, LibraryStore
from pgd_core.jobs.spec import DetectorSpec, DistillJob, TrainJob, job_spec_adapter

WEIGHTS = {"train": "detector.safetensors", "distill": "student.safetensors"}


@dataclass(frozen=True)
class Graduate:
    """A detector, its classes in the head's order, and its weights."""

    model: DetectorSpec
    classes: tuple[str, ...]
    weights: Artifact


def graduate(job: Job, jobs: JobStore, library: LibraryStore) -> Graduate:
    """What `job` trained or distilled; NotReady before it succeeded."""
    spec = job_spec_adapter.validate_python(job.spec)
    if not isinstance(spec, TrainJob | DistillJob):
        message = (
            f"job {job.id} is of kind {job.kind}, which makes no detector; train or distill do"
        )
        raise InvalidSpec(message, (FieldProblem("/source/job", message),))
    if job.state is not JobState.SUCCEEDED:
        raise NotReady(f"job {job.id} is {job.state}; its detector exists once it has succeeded")
    return Graduate(
        model=_model(spec, library),
        classes=library.dataset_classes(spec.dataset),
        weights=_weights(job, jobs, WEIGHTS[spec.kind]),
    )


def _weights(job: Job, jobs: JobStore, name: str) -> Artifact:
    try:
        return jobs.artifact(job.id, name)
    except NotFound as error:  # the job is there: it is the wrong one to name
        message = f"job {job.id} has no file {name!r}: there is no detector to be had of it"
        raise InvalidSpec(message, (FieldProblem("/source/job", message),)) from error


def _model(spec: TrainJob | DistillJob, library: LibraryStore) -> DetectorSpec:
    """A student is its teacher's detector on a backbone of its own."""
    if isinstance(spec, TrainJob):
        return spec.model
    teacher = DetectorSpec.model_validate(library.teacher_model(spec.teacher))
    return teacher.model_copy(update={"backbone": spec.student})
