"""Studies in SQL: `jobs.protocols.StudyStore`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Engine, func, select, update
from sqlalchemy.orm import Session, aliased

from pgd_core.errors import Conflict
from pgd_core.jobs.job import (
    FINAL_STATES,
    LEASED_STATES,
    Artifact,
    Job,
    JobState,
    Reason,
    StopRequest,
)
from pgd_core.jobs.spec import JobSpec
from pgd_core.store.engine import reading, writing
from pgd_core.store.moves import add_event, end_attempt, locked_job, move
from pgd_core.store.named import deleted_of, refuse_deleted
from pgd_core.store.requests import check_quota, insert_job, spec_sha256
from pgd_core.store.rows import job_of, storable
from pgd_core.store.tables import JobRow, StudyChildRow
from pgd_core.store.times import database_now

_BY = "study driver"
_NOT_CANCELLED = func.coalesce(JobRow.stop_requested, "") != StopRequest.CANCEL
_UNFINISHED = [state for state in JobState if state not in FINAL_STATES]


class SqlStudyStore:
    """Implements `StudyStore`; see there what each method promises."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def active(self) -> Sequence[Job]:
        states = [JobState.QUEUED, *LEASED_STATES]
        query = select(JobRow).where(JobRow.kind == "study", JobRow.state.in_(states))
        with reading(self._engine) as session:
            return [job_of(row) for row in session.scalars(query.order_by(JobRow.id))]

    def begin(self, study_id: str) -> Job:
        with writing(self._engine) as session:
            study = locked_job(session, study_id)
            if study.state is not JobState.QUEUED:
                return study
            study = move(session, study, JobState.STARTING, attempt=study.attempt + 1)
            study = move(session, study, JobState.RUNNING, started_at=database_now())
            add_event(session, study_id, "started", by=_BY)
            return study

    def children(self, study_id: str) -> dict[str, Job]:
        query = (
            select(StudyChildRow.key, JobRow)
            .join(JobRow, JobRow.id == StudyChildRow.job_id)
            .where(StudyChildRow.study_id == study_id)
            .order_by(JobRow.id)
        )
        with reading(self._engine) as session:
            return {key: job_of(row) for key, row in session.execute(query)}

    def adopt(self, study_id: str, key: str, spec: JobSpec) -> Job:
        with writing(self._engine) as session:
            study = locked_job(session, study_id)
            if study.state not in LEASED_STATES or study.cancel_requested:
                raise Conflict(f"study {study_id} is {study.state} and takes no more jobs")
            known = session.get(StudyChildRow, (study_id, key))
            if known is not None:
                return locked_job(session, known.job_id)
            found = _like(session, spec, study.team)
            if found is None:
                check_quota(session, study.placement)
                _refuse_deleted(session, study, spec)
            child = found or insert_job(
                session,
                spec,
                study.placement,
                max_attempts=study.max_attempts,
                by=_BY,
            )
            session.add(StudyChildRow(study_id=study_id, key=key, job_id=child.id))
            kind = "child_submitted" if found is None else "child_reused"
            add_event(session, study_id, kind, {"job": child.id, "name": spec.name}, by=_BY)
            return child

    def tell(self, study_id: str, progress: Mapping[str, Any]) -> None:
        values = storable(dict(progress))
        told = update(JobRow).where(JobRow.id == study_id, JobRow.state == JobState.RUNNING)
        with writing(self._engine) as session:
            session.execute(told.values(progress=values))

    def end(
        self,
        study_id: str,
        reason: Reason,
        message: str = "",
        *,
        result: dict[str, Any] | None = None,
        artifacts: Sequence[Artifact] = (),
    ) -> Job:
        with writing(self._engine) as session:
            study = locked_job(session, study_id)
            return end_attempt(
                session, study, reason, message, by=_BY, result=result, artifacts=artifacts
            )

    def children_of_no_other(self, study_id: str) -> Sequence[Job]:
        mine, other = aliased(StudyChildRow), aliased(StudyChildRow)
        needed_elsewhere = (
            select(other.job_id)
            .join(JobRow, JobRow.id == other.study_id)
            .where(
                other.study_id != study_id,
                JobRow.state.in_(_UNFINISHED),
                _NOT_CANCELLED,
            )
        )
        query = (
            select(JobRow)
            .join(mine, mine.job_id == JobRow.id)
            .where(
                mine.study_id == study_id,
                JobRow.state.in_(_UNFINISHED),
                JobRow.id.not_in(needed_elsewhere),
            )
            .order_by(JobRow.id)
        )
        with reading(self._engine) as session:
            return [job_of(row) for row in session.scalars(query)]


def _refuse_deleted(session: Session, study: Job, spec: JobSpec) -> None:
    """A teacher that the study made is registered anew in its next step; nothing else is."""
    refuse_deleted(session, study.spec)
    gone = deleted_of(session, spec.model_dump(mode="json"))
    if gone:
        raise Conflict("; ".join(problem.message for problem in gone))


def _like(session: Session, spec: JobSpec, team: str) -> Job | None:
    """The team's job of the same spec that succeeded, else one that still may."""
    states = [JobState.SUCCEEDED, *_UNFINISHED]
    query = (
        select(JobRow)
        .where(
            JobRow.team == team,
            JobRow.spec_sha256 == spec_sha256(spec),
            JobRow.state.in_(states),
            _NOT_CANCELLED,
        )
        .order_by((JobRow.state == JobState.SUCCEEDED).desc(), JobRow.id)
        .limit(1)
    )
    row = session.scalar(query)
    return None if row is None else job_of(row)
