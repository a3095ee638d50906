"""Teachers and uploads in SQL, and with data sets `jobs.protocols.LibraryStore`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Select, select, update
from sqlalchemy.orm import Session
from uuid_utils import uuid7

from pgd_core.errors import IllegalMove, NotFound
from pgd_core.jobs.job import CheckState, Teacher, Upload
from pgd_core.jobs.spec import DetectorSpec
from pgd_core.jobs.teams import DEFAULT_TEAM
from pgd_core.store.datasets import DatasetRecords
from pgd_core.store.engine import reading, writing
from pgd_core.store.moves import locked_job
from pgd_core.store.rows import storable, teacher_of, upload_of
from pgd_core.store.tables import TeacherRow, UploadRow
from pgd_core.store.teacher_actions import SqlTeacherActions, existing_teacher
from pgd_core.store.times import database_now

_TO_CHECK = (
    select(TeacherRow).where(TeacherRow.state == CheckState.CHECKING).order_by(TeacherRow.id)
)


class SqlLibraryStore(DatasetRecords, SqlTeacherActions):
    """Implements `LibraryStore`; see there what each method promises."""

    def add_upload(self, upload: Upload) -> None:
        with writing(self._engine) as session:
            session.add(UploadRow(**vars(upload)))

    def upload(self, upload_id: str) -> Upload:
        with reading(self._engine) as session:
            return upload_of(_existing_upload(session, upload_id))

    def add_teacher(
        self,
        name: str,
        model: DetectorSpec | None = None,
        classes: Sequence[str] = (),
        *,
        source_job: str | None = None,
        upload: str | None = None,
        key: str = "",
        sha256: str = "",
        team: str = DEFAULT_TEAM,
        once: bool = False,
    ) -> Teacher:
        assert not key or (model and classes), "weights that a job made are known"
        row = TeacherRow(
            id=str(uuid7()),
            name=name,
            state=CheckState.READY if key else CheckState.CHECKING,
            model=model.model_dump(mode="json") if model else {},
            classes=list(classes),
            source_job=source_job,
            upload=upload,
            key=key,
            sha256=sha256,
            team=team,
            created_at=database_now(),
        )
        with writing(self._engine) as session:
            if once and source_job is not None:
                locked_job(session, source_job)  # a second one that asks waits here
                if (known := _of_job(session, source_job)) is not None:
                    return known
            if upload is not None:
                _existing_upload(session, upload)
            session.add(row)
            session.flush()
            return teacher_of(row)

    def teacher(self, teacher_id: str) -> Teacher:
        with reading(self._engine) as session:
            return teacher_of(existing_teacher(session, teacher_id))

    def teacher_of_job(self, job_id: str) -> Teacher | None:
        with reading(self._engine) as session:
            return _of_job(session, job_id)

    def teachers(
        self, *, team: str | None = None, after: str | None = None, limit: int = 50
    ) -> Sequence[Teacher]:
        with reading(self._engine) as session:
            rows = session.scalars(_newest_first(team, after, limit))
            return [teacher_of(row) for row in rows]

    def teachers_to_check(self) -> Sequence[Teacher]:
        with reading(self._engine) as session:
            return [teacher_of(row) for row in session.scalars(_TO_CHECK)]

    def teacher_checked(
        self,
        teacher_id: str,
        *,
        key: str = "",
        sha256: str = "",
        message: str = "",
        recognised: Mapping[str, Any] | None = None,
    ) -> None:
        values = {
            "key": key,
            "sha256": sha256,
            "message": storable(message),
            "recognised": storable(recognised and dict(recognised)),
        }
        with writing(self._engine) as session:
            row = existing_teacher(session, teacher_id)
            usable = CheckState.READY if row.model and row.classes else CheckState.UNCONFIRMED
            values["state"] = usable if key else CheckState.REJECTED
            _settle(session, teacher_id, values)


def _of_job(session: Session, job_id: str) -> Teacher | None:
    row = session.scalar(
        select(TeacherRow)
        .where(TeacherRow.source_job == job_id, TeacherRow.state == CheckState.READY)
        .order_by(TeacherRow.id)
        .limit(1)
    )
    return None if row is None else teacher_of(row)


def _existing_upload(session: Session, upload_id: str) -> UploadRow:
    row = session.get(UploadRow, upload_id)
    if row is None:
        raise NotFound(f"no upload {upload_id}")
    return row


def _newest_first(team: str | None, after: str | None, limit: int) -> Select[TeacherRow]:
    query = select(TeacherRow).order_by(TeacherRow.id.desc()).limit(limit)
    if team is not None:
        query = query.where(TeacherRow.team == team)
    return query if after is None else query.where(TeacherRow.id < after)


def _settle(session: Session, teacher_id: str, values: dict[str, Any]) -> None:
    """The result of a check; a teacher that was checked already keeps its first result."""
    settled = session.scalar(
        update(TeacherRow)
        .where(TeacherRow.id == teacher_id, TeacherRow.state == CheckState.CHECKING)
        .values(**values)
        .returning(TeacherRow.id)
    )
    if settled is None:
        state = existing_teacher(session, teacher_id).state
        raise IllegalMove(f"teacher {teacher_id} was checked before: it is {state}")
