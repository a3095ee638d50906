"""Whether a job can run at all, asked before a GPU is taken: what its ids and files name, and
whether the teacher fits the data set."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TypeVar

from api.refusals import Refusals
from api.requests import ID, NO_CONTROL
from pgd_core.errors import FieldProblem, InvalidSpec, NotFound, NotReady
from pgd_core.jobs.graduates import graduate
from pgd_core.jobs.job import CheckState, Dataset, Job, Teacher
from pgd_core.jobs.machine import Placement
from pgd_core.jobs.methods import refuse_unserved
from pgd_core.jobs.protocols import JobStore, LibraryStore
from pgd_core.jobs.spec import (
    BackboneSpec,
    DistillJob,
    ExportJob,
    JobSpec,
    StudyJob,
    TeacherToTrain,
    TrainJob,
)

Owned = TypeVar("Owned", Dataset, Teacher, Job)


def check_job(
    spec: JobSpec,
    jobs: JobStore,
    library: LibraryStore,
    weights_folder: Path | None,
    placement: Placement,
) -> None:
    """Raise InvalidSpec with all that is wrong, else NotReady, unless the job can run: the team's
    data set and teacher can be used together, and its GPUs can share a batch.

    Where `weights_folder` is None, only the worker knows which files there are.
    """
    team, found = placement.team, Refusals()
    with found.noted():
        if not re.fullmatch(NO_CONTROL, spec.name):
            raise _invalid("/name", "name holds a control character")
    if weights_folder is not None:
        for pointer, backbone in _backbones(spec):
            with found.noted():
                _check_weights(pointer, backbone, weights_folder)
    with found.noted():
        _check_share(spec, placement.needs.gpus)
    dataset = None
    with found.noted():
        dataset = _ready_dataset(spec.dataset, library, team)
    for pointer, teacher_id in teachers_of(spec):
        with found.noted():
            _check_teacher(
                spec, pointer, _ready_teacher(pointer, teacher_id, library, team), dataset
            )
    if isinstance(spec, ExportJob) and spec.job and dataset is not None:
        with found.noted():
            _check_made(spec.job, jobs, library, dataset)
    found.raise_all()


def _check_teacher(spec: JobSpec, pointer: str, teacher: Teacher, dataset: Dataset | None) -> None:
    """That it knows the data set's classes, and the method can serve it."""
    if dataset is not None and teacher.classes != dataset.classes:
        raise _invalid(pointer, _class_mismatch(teacher, dataset))
    if isinstance(spec, DistillJob):
        refuse_unserved(spec.method, str(teacher.model["detector"]))


def teachers_of(spec: JobSpec) -> list[tuple[str, str]]:
    """(JSON pointer, id) of each registered teacher that the job names."""
    if isinstance(spec, TrainJob):
        return []
    if isinstance(spec, ExportJob) and spec.job:
        return []
    if isinstance(spec, StudyJob):
        named = spec.teachers.items()
        return [(f"/teachers/{name}", given) for name, given in named if isinstance(given, str)]
    return [("/teacher", spec.teacher)]


def _backbones(spec: JobSpec) -> list[tuple[str, BackboneSpec]]:
    """(JSON pointer, backbone) of each detector that the job trains."""
    if isinstance(spec, TrainJob):
        return [("/model/backbone", spec.model.backbone)]
    if isinstance(spec, DistillJob):
        return [("/student", spec.student)]
    if not isinstance(spec, StudyJob):
        return []
    found = [
        (f"/teachers/{name}/model/backbone", given.model.backbone)
        for name, given in spec.teachers.items()
        if isinstance(given, TeacherToTrain)
    ]
    student = spec.student
    return [*found, ("/student", student)] if isinstance(student, BackboneSpec) else found


def _check_weights(pointer: str, backbone: BackboneSpec, folder: Path) -> None:
    kind, _, name = backbone.weights.partition(":")
    if kind == "file" and not (folder / name).is_file():
        raise _invalid(
            f"{pointer}/weights",
            f"there is no file {name!r} in this server's weights folder; put it there first, "
            "or use weights 'imagenet' or 'none'",
        )


def _check_share(spec: JobSpec, gpus: int) -> None:
    """That every GPU gets as many pictures of a batch."""
    if not isinstance(spec, TrainJob | DistillJob | StudyJob):
        return
    batch, accumulation = spec.training.batch_size, spec.training.accumulation
    if batch % (accumulation * gpus):
        times = f" in {accumulation} passes" if accumulation > 1 else ""
        raise _invalid(
            "/training/batch_size",
            f"batch_size {batch} cannot be shared by {gpus} GPUs{times}; make it a multiple of "
            f"{accumulation * gpus}",
        )


def _ready_dataset(dataset_id: str, library: LibraryStore, team: str) -> Dataset:
    _check_id("/dataset", dataset_id)
    try:
        dataset = _of_team(library.dataset(dataset_id), team)
    except NotFound as error:
        raise _invalid(
            "/dataset", f"team {team!r} has no data set {dataset_id}; GET /v1/datasets lists them"
        ) from error
    if dataset.state is not CheckState.READY:
        raise NotReady(_not_ready("data set", dataset.id, dataset.state, "datasets"))
    return dataset


def _ready_teacher(pointer: str, teacher_id: str, library: LibraryStore, team: str) -> Teacher:
    _check_id(pointer, teacher_id)
    try:
        teacher = _of_team(library.teacher(teacher_id), team)
    except NotFound as error:
        raise _invalid(
            pointer, f"team {team!r} has no teacher {teacher_id}; GET /v1/teachers lists them"
        ) from error
    if teacher.state is not CheckState.READY:
        raise NotReady(_not_ready("teacher", teacher.id, teacher.state, "teachers"))
    return teacher


def _check_made(job_id: str, jobs: JobStore, library: LibraryStore, dataset: Dataset) -> None:
    """That the job has made a detector of the data set's classes."""
    _check_id("/job", job_id)
    try:
        job = _of_team(jobs.get(job_id), dataset.team)
    except NotFound as error:
        message = f"team {dataset.team!r} has no job {job_id}; GET /v1/jobs lists them"
        raise _invalid("/job", message) from error
    try:
        made = graduate(job, jobs, library)
    except InvalidSpec as error:
        raise _invalid("/job", error.message) from error
    except NotFound as error:
        message = f"what job {job_id} was trained on or from is not known any more: {error.message}"
        raise _invalid("/job", message) from error
    if made.classes != dataset.classes:
        raise _invalid(
            "/job",
            f"the job's detector knows {len(made.classes)} classes ({_some(set(made.classes))}), "
            f"data set {dataset.name!r} has {len(dataset.classes)} "
            f"({_some(set(dataset.classes))}); they must be the same, in the same order",
        )


def _of_team(thing: Owned, team: str) -> Owned:
    """Another team's is as good as none."""
    if thing.team != team:
        raise NotFound(f"team {team!r} has no {thing.id}")
    return thing


def _not_ready(thing: str, thing_id: str, state: CheckState, resource: str) -> str:
    if state is CheckState.CHECKING:
        return f"{thing} {thing_id} is still being checked; watch GET /v1/{resource}/{thing_id}"
    if state is CheckState.UNCONFIRMED:
        return (
            f"{thing} {thing_id} was recognised, and nobody has confirmed that it is so: look at "
            f"GET /v1/{resource}/{thing_id}, then POST /v1/{resource}/{thing_id}:confirm"
        )
    return f"{thing} {thing_id} was rejected; GET /v1/{resource}/{thing_id} says why"


def _class_mismatch(teacher: Teacher, dataset: Dataset) -> str:
    if sorted(teacher.classes) == sorted(dataset.classes):
        difference = "the same classes in another order"
    else:
        difference = (
            f"only the teacher has {_some(set(teacher.classes) - set(dataset.classes))}, "
            f"only the data set has {_some(set(dataset.classes) - set(teacher.classes))}"
        )
    return (
        f"teacher {teacher.name!r} ({len(teacher.classes)} classes) does not fit data set "
        f"{dataset.name!r} ({len(dataset.classes)} classes): {difference}"
    )


def _some(names: set[str]) -> str:
    shown = ", ".join(repr(name) for name in sorted(names)[:5]) or "none"
    return shown if len(names) <= 5 else f"{shown} and {len(names) - 5} more"


def _check_id(pointer: str, value: str) -> None:
    if not re.fullmatch(ID, value):
        raise _invalid(pointer, f"{value!r} is not an id")


def _invalid(pointer: str, message: str) -> InvalidSpec:
    return InvalidSpec(message, (FieldProblem(pointer, message),))
