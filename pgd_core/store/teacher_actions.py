"""Confirming and deleting teachers in SQL: a part of `jobs.teacher_store.TeacherStore`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from sqlalchemy import Engine, Text, cast, select, update
from sqlalchemy.orm import Session

from pgd_core.errors import IllegalMove, InUse, NotFound
from pgd_core.jobs.job import FINAL_STATES, CheckState, Teacher
from pgd_core.jobs.spec import DetectorSpec
from pgd_core.store.engine import reading, writing
from pgd_core.store.named import teachers_in
from pgd_core.store.rows import teacher_of
from pgd_core.store.tables import JobRow, TeacherRow
from pgd_core.store.teacher_tables import FormerTeacherRow
from pgd_core.store.times import database_now


class SqlTeacherActions:
    """Implements a part of `TeacherStore`; see there what each method promises."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def confirm_teacher(
        self, teacher_id: str, model: DetectorSpec, classes: Sequence[str]
    ) -> Teacher:
        values = {
            "state": CheckState.READY,
            "model": model.model_dump(mode="json"),
            "classes": list(classes),
        }
        with writing(self._engine) as session:
            confirmed = session.scalar(
                update(TeacherRow)
                .where(TeacherRow.id == teacher_id, TeacherRow.state == CheckState.UNCONFIRMED)
                .values(**values)
                .returning(TeacherRow)
            )
            if confirmed is None:
                state = existing_teacher(session, teacher_id).state
                raise IllegalMove(f"teacher {teacher_id} is {state}; nothing is left to confirm")
            return teacher_of(confirmed)

    def delete_teacher(self, teacher_id: str) -> Teacher:
        with writing(self._engine) as session:
            row = existing_teacher(session, teacher_id, locked=True)
            users = list(_living_jobs(session, teacher_id))
            if users:
                more = f" and {len(users) - 5} more" if len(users) > 5 else ""
                raise InUse(
                    f"teacher {teacher_id} is needed by {', '.join(users[:5])}{more}; cancel them, "
                    "or wait for their end"
                )
            was = teacher_of(row)
            session.add(
                FormerTeacherRow(
                    id=row.id,
                    name=row.name,
                    team=row.team,
                    model=row.model,
                    deleted_at=database_now(),
                )
            )
            session.delete(row)
            return was

    def teacher_model(self, teacher_id: str) -> dict[str, Any]:
        with reading(self._engine) as session:
            row = session.get(TeacherRow, teacher_id) or session.get(FormerTeacherRow, teacher_id)
            if row is None:
                raise NotFound(f"no teacher {teacher_id}")
            return row.model


def existing_teacher(session: Session, teacher_id: str, *, locked: bool = False) -> TeacherRow:
    """The row; NotFound where there is none."""
    row = session.get(TeacherRow, teacher_id, with_for_update=locked or None)
    if row is None:
        raise NotFound(f"no teacher {teacher_id}")
    return row


def _living_jobs(session: Session, teacher_id: str) -> Iterator[str]:
    """Each job that has not ended and names the teacher, in words."""
    query = (
        select(JobRow.id, JobRow.state, JobRow.spec)
        .where(
            JobRow.state.not_in(FINAL_STATES),
            cast(JobRow.spec, Text).contains(teacher_id, autoescape=True),
        )
        .order_by(JobRow.id)
    )
    for job_id, state, spec in session.execute(query):
        if teacher_id in teachers_in(spec).values():
            yield f"job {job_id} ({state})"
