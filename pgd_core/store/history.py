"""Looking at jobs: the part of `jobs.protocols.JobStore` that changes nothing."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Engine, select
from sqlalchemy.orm import Session

from pgd_core.errors import NotFound
from pgd_core.jobs.job import Artifact, Event, Job, JobState
from pgd_core.jobs.run import ProgressLine
from pgd_core.store.engine import reading
from pgd_core.store.rows import artifact_of, event_of, job_of
from pgd_core.store.tables import ArtifactRow, EventRow, JobRow, ProgressRow


class JobHistory:
    """Jobs, and what happened to them."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def get(self, job_id: str) -> Job:
        with reading(self._engine) as session:
            return job_of(_existing(session, job_id))

    def list(
        self,
        *,
        after: str | None = None,
        limit: int = 50,
        state: JobState | None = None,
        kind: str | None = None,
        team: str | None = None,
        pool: str | None = None,
    ) -> Sequence[Job]:
        query = select(JobRow).order_by(JobRow.id.desc()).limit(limit)
        if after is not None:
            query = query.where(JobRow.id < after)
        if state is not None:
            query = query.where(JobRow.state == state)
        if kind is not None:
            query = query.where(JobRow.kind == kind)
        if team is not None:
            query = query.where(JobRow.team == team)
        if pool is not None:
            query = query.where(JobRow.pool == pool)
        with reading(self._engine) as session:
            return [job_of(row) for row in session.scalars(query)]

    def events(self, job_id: str, *, after: int = 0, limit: int = 1000) -> Sequence[Event]:
        query = (
            select(EventRow)
            .where(EventRow.job_id == job_id, EventRow.sequence > after)
            .order_by(EventRow.sequence)
            .limit(limit)
        )
        with reading(self._engine) as session:
            _existing(session, job_id)
            return [event_of(row) for row in session.scalars(query)]

    def progress_lines(
        self, job_id: str, *, type: str | None = None, after: int = 0, limit: int = 1000
    ) -> Sequence[tuple[int, ProgressLine]]:
        query = (
            select(ProgressRow)
            .where(ProgressRow.job_id == job_id, ProgressRow.sequence > after)
            .order_by(ProgressRow.sequence)
            .limit(limit)
        )
        if type is not None:
            query = query.where(ProgressRow.type == type)
        with reading(self._engine) as session:
            _existing(session, job_id)
            rows = session.scalars(query)
            return [(row.sequence, ProgressLine.model_validate(row.line)) for row in rows]

    def artifacts(self, job_id: str) -> Sequence[Artifact]:
        query = select(ArtifactRow).where(ArtifactRow.job_id == job_id).order_by(ArtifactRow.name)
        with reading(self._engine) as session:
            _existing(session, job_id)
            return [artifact_of(row) for row in session.scalars(query)]

    def artifact(self, job_id: str, name: str) -> Artifact:
        query = (
            select(ArtifactRow)
            .where(ArtifactRow.job_id == job_id, ArtifactRow.name == name)
            .order_by(ArtifactRow.attempt.desc())
            .limit(1)
        )
        with reading(self._engine) as session:
            row = session.scalar(query)
            if row is None:
                raise NotFound(f"job {job_id} has no artifact {name!r}")
            return artifact_of(row)


def _existing(session: Session, job_id: str) -> JobRow:
    row = session.get(JobRow, job_id)
    if row is None:
        raise NotFound(f"no job {job_id}")
    return row
