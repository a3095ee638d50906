"""What a study trains: every combination of its matrices as a distill job, and the references."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pgd_core.jobs.detector import DetectorSpec
from pgd_core.jobs.matrix import Choice, Matrix, with_choices
from pgd_core.jobs.methods import METHODS
from pgd_core.jobs.spec import DistillJob, StudyJob, TeacherToTrain, TrainJob

REFERENCES = {"plain": "plain student", "head_only": "head-only student"}


@dataclass(frozen=True)
class Cell:
    """One student: a place in the table and, with the other seeds', a row of it."""

    key: str  # the same for the same job, in every study
    teacher: str  # its name in the study
    row: str  # what the table calls the setting
    seed: int
    method: str
    served: bool  # whether the method can serve the teacher's detector
    spec: dict[str, Any]  # `DistillJob` as JSON, its teacher left open
    references: dict[str, str]  # the keys of the undistilled students it is measured over


def teachers_to_train(study: StudyJob) -> dict[str, TrainJob]:
    """The teachers that are not registered yet, as jobs, by their name in the study."""
    return {
        name: TrainJob(
            kind="train",
            name=f"teacher {name}",
            dataset=study.dataset,
            model=teacher.model,
            input=teacher.input or study.input,
            training=teacher.training or study.training,
        )
        for name, teacher in study.teachers.items()
        if isinstance(teacher, TeacherToTrain)
    }


def cells(study: StudyJob, models: Mapping[str, DetectorSpec]) -> list[Cell]:
    """Every student once, references before what is measured over them.

    `models` are the teachers by name, those that are yet to be trained included.
    """
    found: dict[str, Cell] = {}
    for matrix in study.matrices:
        for cell in _cells_of(study, matrix, models):
            found.setdefault(cell.key, cell)
    return list(found.values())


def job_of_cell(cell: Cell, teacher_id: str) -> DistillJob:
    """The job that trains the student, from the teacher that the service knows by this id."""
    name = f"{cell.teacher}: {cell.row}, seed {cell.seed}"[:200]
    return DistillJob.model_validate({**cell.spec, "teacher": teacher_id, "name": name})


def _cells_of(
    study: StudyJob, matrix: Matrix, models: Mapping[str, DetectorSpec]
) -> Iterator[Cell]:
    for teacher in matrix.teachers or study.teachers:
        base = study.base(models[teacher].backbone)
        for choices in matrix.combinations:
            for seed in matrix.seeds or study.seeds:
                spec = _canonical(with_choices(base, choices), seed)
                references = {
                    kind: _reference(kind, spec, teacher, choices) for kind in study.references
                }
                yield from references.values()
                yield _cell(
                    spec,
                    teacher,
                    _row(spec, choices),
                    models[teacher].detector,
                    {kind: cell.key for kind, cell in references.items()},
                )


def _canonical(job: dict[str, Any], seed: int) -> dict[str, Any]:
    job["training"] = {**job["training"], "seed": seed}
    return DistillJob.model_validate(job).model_dump(mode="json")


def _reference(kind: str, spec: dict[str, Any], teacher: str, choices: tuple[Choice, ...]) -> Cell:
    """The same student without distillation: from a random start, or from the teacher's head."""
    undistilled = {**spec, "method": {"name": "none"}, "inherit_head": kind == "head_only"}
    rest = [label for field, label, _ in choices if not _is_of_method(field)]
    row = ", ".join([REFERENCES[kind], *rest])
    return _cell(_canonical(undistilled, spec["training"]["seed"]), teacher, row, None, {})


def _cell(
    spec: dict[str, Any],
    teacher: str,
    row: str,
    detector: str | None,  # None: served whatever it is
    references: dict[str, str],
) -> Cell:
    method = spec["method"]["name"]
    text = json.dumps([teacher, spec], sort_keys=True)
    return Cell(
        key=hashlib.sha256(text.encode()).hexdigest()[:32],
        teacher=teacher,
        row=row,
        seed=spec["training"]["seed"],
        method=method,
        served=detector is None or detector in METHODS[method].detectors,
        spec=spec,
        references=references,
    )


def _row(spec: dict[str, Any], choices: tuple[Choice, ...]) -> str:
    """The choices in words; the method comes first, even where no axis has it."""
    words = [_in_words(choice) for choice in choices]
    if not any(field in ("method", "method.name") for field, _, _ in choices):
        words = [METHODS[spec["method"]["name"]].title, *words]
    return ", ".join(words)


def _in_words(choice: Choice) -> str:
    field, label, _ = choice
    return METHODS[label].title if field == "method" and label in METHODS else label


def _is_of_method(field: str) -> bool:
    return field.partition(".")[0] in ("method", "inherit_head")
