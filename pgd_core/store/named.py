"""What a job's spec names, asked in the transaction that queues the job.

A deletion looks for jobs that have not ended while it holds the row FOR UPDATE. Whoever queues a
job holds the rows that it names FOR KEY SHARE, so that one of the two waits for the other: either
the deletion finds the job, or the job finds what was deleted. On SQLite the write lock does it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import InstrumentedAttribute, Session

from pgd_core.errors import FieldProblem, InvalidSpec
from pgd_core.store.dataset_tables import DatasetRow, FormerDatasetRow
from pgd_core.store.tables import TeacherRow
from pgd_core.store.teacher_tables import FormerTeacherRow


def refuse_deleted(session: Session, spec: Mapping[str, Any]) -> None:
    """InvalidSpec where a data set or teacher that the spec names was deleted."""
    problems = deleted_of(session, spec)
    if problems:
        raise InvalidSpec("; ".join(problem.message for problem in problems), problems)


def deleted_of(session: Session, spec: Mapping[str, Any]) -> tuple[FieldProblem, ...]:
    """One for each thing that the spec names and that was deleted; the others are held.

    Whether an id ever named anything, and whose it is, is not asked here but before: see
    `api.compatibility`.
    """
    return (*_deleted_datasets(session, spec), *_deleted_teachers(session, spec))


def teachers_in(spec: Mapping[str, Any]) -> dict[str, str]:
    """The ids that a job's spec names, by JSON pointer; a study's may be models to train, too."""
    several = {f"/teachers/{name}": given for name, given in spec.get("teachers", {}).items()}
    named = {"/teacher": spec.get("teacher"), **several}
    return {pointer: given for pointer, given in named.items() if given and isinstance(given, str)}


def _deleted_datasets(session: Session, spec: Mapping[str, Any]) -> Iterator[FieldProblem]:
    dataset_id = spec["dataset"]
    _hold(session, DatasetRow.id, [dataset_id])
    row = session.get(FormerDatasetRow, dataset_id)
    if row is not None:
        yield FieldProblem(
            "/dataset",
            f"data set {row.name!r} version {row.version} ({row.id}) was deleted; "
            "GET /v1/datasets lists those there are",
        )


def _deleted_teachers(session: Session, spec: Mapping[str, Any]) -> Iterator[FieldProblem]:
    named = teachers_in(spec)
    _hold(session, TeacherRow.id, named.values())
    for pointer, teacher_id in named.items():
        row = session.get(FormerTeacherRow, teacher_id)
        if row is not None:
            yield FieldProblem(
                pointer,
                f"teacher {row.name!r} ({row.id}) was deleted; "
                "GET /v1/teachers lists those there are",
            )


def _hold(session: Session, of_row: InstrumentedAttribute[str], ids: Collection[str]) -> None:
    """Those that exist, until the transaction ends; in order, so that no two wait in a circle."""
    if ids:
        held = select(of_row).where(of_row.in_(ids)).order_by(of_row)
        session.execute(held.with_for_update(read=True, key_share=True))
