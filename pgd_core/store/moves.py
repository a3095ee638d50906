"""How a job changes: guarded moves and the lines of its history, inside the caller's transaction.

Every change names in its WHERE what it believes the job to be; a row that has moved on is not
touched, and the caller learns of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import UpdateBase, bindparam, false, func, insert, select, update
from sqlalchemy.orm import Session
from sqlalchemy.sql.elements import ColumnElement

from pgd_core.errors import IllegalMove, LeaseLost, NotFound
from pgd_core.jobs.job import (
    FINAL_STATES,
    Artifact,
    Claim,
    Job,
    JobState,
    Reason,
    aftermath,
    check_move,
)
from pgd_core.store.rows import job_of, storable
from pgd_core.store.tables import ArtifactRow, Base
from pgd_core.store.times import database_now, seconds_since

# Tables and not objects, and what never changes built once: each claim and end comes here.
_JOBS = Base.metadata.tables["jobs"]
_LOCK_JOB = select(_JOBS).where(_JOBS.c.id == bindparam("of")).with_for_update()


def locked_job(session: Session, job_id: str) -> Job:
    """The job, held until the transaction ends; NotFound when there is none."""
    row = session.connection().execute(_LOCK_JOB, {"of": job_id}).one_or_none()
    if row is None:
        raise NotFound(f"no job {job_id}")
    return job_of(row)


def claimed_job(session: Session, claim: Claim) -> Job:
    """The job, held; LeaseLost when the claim no longer owns it."""
    job = locked_job(session, claim.job_id)
    if job.lease_token != claim.lease_token:
        raise lease_lost(claim)
    return job


def lease_lost(claim: Claim) -> LeaseLost:
    return LeaseLost(
        f"attempt {claim.attempt} no longer owns job {claim.job_id}: its lease ran out or the job "
        "ended; stop"
    )


def move(session: Session, job: Job, state: JobState, **values: Any) -> Job:
    """The job in its new state; the old state and the lease are guarded in SQL as well."""
    check_move(job.state, state)
    old = (_JOBS.c.id == job.id, _JOBS.c.state == job.state, _same_lease(job))
    changing = update(_JOBS).where(*old).values(state=state, **values).returning(_JOBS)
    changed = session.connection().execute(changing).one_or_none()
    if changed is None:
        raise IllegalMove(f"job {job.id} is no longer {job.state}; look at it again")
    return job_of(changed)


def end_attempt(
    session: Session,
    job: Job,  # leased
    reason: Reason,
    message: str,
    *,
    by: str,
    result: dict[str, Any] | None = None,
    artifacts: Sequence[Artifact] = (),
) -> Job:
    """End the attempt: requeued, paused or ended, as the reason says; its GPU time is noted."""
    after = aftermath(job, reason)
    took_s = func.coalesce(seconds_since(_JOBS.c.claimed_at), 0.0)
    ended = move(
        session,
        job,
        after.state,
        reason=after.reason,
        message=storable(message),
        failures=after.failures,
        stop_requested=None,
        gpu_s=_JOBS.c.gpu_s + _JOBS.c.gpus * took_s,
        slots=[],
        claimed_at=None,
        lease_token=None,
        lease_expires_at=None,
        worker=None,
        hinted_at=None,
        result=storable(result or {}),
        finished_at=database_now() if after.state in FINAL_STATES else None,
    )
    session.add_all(ArtifactRow(**vars(artifact)) for artifact in artifacts)
    kind = "requeued" if after.state is JobState.QUEUED else str(after.state)
    data: dict[str, Any] = {"attempt": job.attempt, "reason": after.reason, "message": message}
    if after.failures > job.failures:
        data |= {"failures": after.failures, "max_attempts": job.max_attempts}
    add_event(session, job.id, kind, data, by=by)
    return ended


def add_event(
    session: Session, job_id: str, kind: str, data: dict[str, Any] | None = None, *, by: str
) -> None:
    """A line of history; the caller holds the job's row, so numbers neither clash nor skip."""
    line = {"of": job_id, "kind": kind, "by": by, "data": storable(data or {})}
    added = session.connection().execute(_ADD_EVENT, line)
    assert added.rowcount == 1, f"there is no job {job_id}"


def adding_event(*conditions: ColumnElement[bool]) -> UpdateBase:
    """The statement for a line (`kind`, `by`, `data`) about the job `of`, if it meets the
    conditions; built once for all lines, as it is on the hot path."""
    events = Base.metadata.tables["job_events"]
    last = select(func.max(events.c.sequence)).where(events.c.job_id == _JOBS.c.id)
    line = select(
        _JOBS.c.id,
        func.coalesce(last.scalar_subquery(), 0) + 1,
        database_now(),
        bindparam("kind", type_=events.c.kind.type),
        bindparam("by", type_=events.c.by.type),
        bindparam("data", type_=events.c.data.type),
        false(),
    ).where(_JOBS.c.id == bindparam("of"), *conditions)
    columns = ("job_id", "sequence", "at", "kind", "by", "data", "dispatched")
    return insert(events).from_select(columns, line)


_ADD_EVENT = adding_event().execution_options(preserve_rowcount=True)


def _same_lease(job: Job) -> ColumnElement[bool]:
    if job.lease_token is None:
        return _JOBS.c.lease_token.is_(None)
    return _JOBS.c.lease_token == job.lease_token
