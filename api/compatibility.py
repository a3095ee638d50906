"""Whether a job can run at all, asked before a GPU is taken: what its ids and files name, and
whether the teacher fits the data set."""

from __future__ import annotations

import re
from pathlib import Path

from api.requests import ID, NO_CONTROL
from pgd_core.errors import FieldProblem, InvalidSpec, NotFound, NotReady
from pgd_core.jobs.job import CheckState, Dataset, Teacher
from pgd_core.jobs.methods import refuse_unserved
from pgd_core.jobs.protocols import LibraryStore
from pgd_core.jobs.spec import AnalyseJob, DistillJob, EvaluateJob, JobSpec, TrainJob


def check_job(spec: JobSpec, library: LibraryStore, weights_folder: Path | None) -> None:
    """Raise InvalidSpec or NotReady unless the job's data set and teacher can be used together.

    Where `weights_folder` is None, only the worker knows which files there are.
    """
    if not re.fullmatch(NO_CONTROL, spec.name):
        raise _invalid("/name", "name holds a control character")
    if weights_folder is not None:
        _check_weights(spec, weights_folder)
    dataset = _ready_dataset(spec.dataset, library)
    if isinstance(spec, TrainJob):
        return
    teacher = _ready_teacher(spec.teacher, library)
    if teacher.classes != dataset.classes:
        raise _invalid("/teacher", _class_mismatch(teacher, dataset))
    if isinstance(spec, DistillJob):
        refuse_unserved(spec.method, str(teacher.model["detector"]))


def _check_weights(spec: JobSpec, folder: Path) -> None:
    if isinstance(spec, EvaluateJob | AnalyseJob):
        return
    if isinstance(spec, TrainJob):
        backbone, pointer = spec.model.backbone, "/model/backbone"
    else:
        backbone, pointer = spec.student, "/student"
    kind, _, name = backbone.weights.partition(":")
    if kind == "file" and not (folder / name).is_file():
        raise _invalid(
            f"{pointer}/weights",
            f"there is no file {name!r} in this server's weights folder; put it there first, or "
            "use weights 'imagenet' or 'none'",
        )


def _ready_dataset(dataset_id: str, library: LibraryStore) -> Dataset:
    _check_id("/dataset", dataset_id)
    try:
        dataset = library.dataset(dataset_id)
    except NotFound as error:
        raise _invalid(
            "/dataset", f"there is no data set {dataset_id}; GET /v1/datasets lists them"
        ) from error
    if dataset.state is not CheckState.READY:
        raise NotReady(_not_ready("data set", dataset.id, dataset.state, "datasets"))
    return dataset


def _ready_teacher(teacher_id: str, library: LibraryStore) -> Teacher:
    _check_id("/teacher", teacher_id)
    try:
        teacher = library.teacher(teacher_id)
    except NotFound as error:
        raise _invalid(
            "/teacher", f"there is no teacher {teacher_id}; GET /v1/teachers lists them"
        ) from error
    if teacher.state is not CheckState.READY:
        raise NotReady(_not_ready("teacher", teacher.id, teacher.state, "teachers"))
    return teacher


def _not_ready(thing: str, thing_id: str, state: CheckState, resource: str) -> str:
    if state is CheckState.CHECKING:
        return f"{thing} {thing_id} is still being checked; watch GET /v1/{resource}/{thing_id}"
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
