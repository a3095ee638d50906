"""The queue in SQL: `jobs.protocols.JobStore` on SQLite and on PostgreSQL."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from sqlalchemy import Engine, func, insert, or_, select, update
from sqlalchemy.orm import Session

from pgd_core.jobs.job import (
    LEASED_STATES,
    Artifact,
    Claim,
    Job,
    JobState,
    Reason,
    StopRequest,
    check_move,
)
from pgd_core.jobs.machine import Offer
from pgd_core.jobs.protocols import Orders
from pgd_core.jobs.run import ProgressLine
from pgd_core.jobs.scheduling import SchedulingRules
from pgd_core.store.claiming import claim_next
from pgd_core.store.conditions import for_workers
from pgd_core.store.engine import reading, writing
from pgd_core.store.isolation import one_by_one
from pgd_core.store.moves import add_event, claimed_job, end_attempt, lease_lost, locked_job, move
from pgd_core.store.registering import note_success
from pgd_core.store.requests import JobRequests
from pgd_core.store.rows import line_as_json
from pgd_core.store.tables import JobRow, ProgressRow
from pgd_core.store.teams import charge
from pgd_core.store.times import database_now

# Workers that one round wakes in a pool; a worker that is awake goes on by itself.
_HINTS_AT_ONCE = 64
# A job that was hinted a moment ago is not marked again: each submit would rewrite a long queue.
_HINT_IS_FRESH = timedelta(seconds=10)
_RECONCILER = "reconciler"


class SqlJobStore(JobRequests):
    """Implements `JobStore`: looking by `JobHistory`, what people ask for by `JobRequests`, and
    here the sides of the workers and of the reconciler; see the protocol for what each promises.
    """

    def __init__(self, engine: Engine, rules: SchedulingRules = SchedulingRules()) -> None:  # noqa: B008
        super().__init__(engine)
        self._rules = rules

    # A worker's side

    def claim(self, offer: Offer, lease: timedelta) -> tuple[Job, Claim] | None:
        with writing(self._engine) as session:
            return claim_next(session, offer, lease, self._rules)

    def started(self, claim: Claim) -> None:
        with writing(self._engine) as session:
            job = claimed_job(session, claim)
            check_move(job.state, JobState.RUNNING)
            first_start = func.coalesce(JobRow.started_at, database_now())
            move(session, job, JobState.RUNNING, started_at=first_start)
            add_event(session, job.id, "started", {"attempt": claim.attempt}, by=job.worker or "")

    def heartbeat(
        self, claim: Claim, lease: timedelta, lines: Sequence[ProgressLine] = ()
    ) -> Orders:
        values: dict[str, Any] = {"lease_expires_at": database_now(lease)}
        telling = [line for line in lines if line.says_how_far]
        if telling:
            values["progress"] = line_as_json(telling[-1])
        renew = (
            update(JobRow)
            .where(
                JobRow.id == claim.job_id,
                JobRow.lease_token == claim.lease_token,
                JobRow.state.in_(LEASED_STATES),
            )
            .values(**values)
            .returning(JobRow.stop_requested)
        )
        with writing(self._engine) as session:
            row = session.execute(renew).one_or_none()
            if row is None:
                raise lease_lost(claim)
            _add_lines(session, claim, lines)
            return Orders(StopRequest(row.stop_requested) if row.stop_requested else None)

    def finish(
        self,
        claim: Claim,
        reason: Reason,
        message: str = "",
        *,
        result: dict[str, Any] | None = None,
        artifacts: Sequence[Artifact] = (),
    ) -> Job:
        with writing(self._engine) as session:
            job = claimed_job(session, claim)
            by = job.worker or ""
            ended = end_attempt(
                session, job, reason, message, by=by, result=result, artifacts=artifacts
            )
            charge(session, job.team, ended.gpu_s - job.gpu_s, self._rules.half_life)
            note_success(session, ended, job.worker, artifacts)
            return ended

    # The reconciler's side

    def expire_leases(self) -> Sequence[Job]:
        expired = select(JobRow.id).where(*_EXPIRED).order_by(JobRow.id)
        with reading(self._engine) as session:
            found = list(session.scalars(expired))
        return one_by_one(self._expire, found)

    def _expire(self, job_id: str) -> Job | None:
        """One job a transaction; None when its lease was renewed or it was ended meanwhile."""
        with writing(self._engine) as session:
            job = locked_job(session, job_id)
            still = select(JobRow.id).where(JobRow.id == job_id, *_EXPIRED)
            if session.scalar(still) is None:
                return None
            ended = end_attempt(session, job, Reason.WORKER_LOST, _silence(job), by=_RECONCILER)
            charge(session, job.team, ended.gpu_s - job.gpu_s, self._rules.half_life)
            return ended

    def pending_hints(self, *, again_after: timedelta) -> Sequence[str]:
        unheard = or_(JobRow.hinted_at.is_(None), JobRow.hinted_at < database_now(-again_after))
        waiting = (JobRow.state == JobState.QUEUED, for_workers(), unheard)
        query = select(JobRow.pool, func.count()).where(*waiting).group_by(JobRow.pool)
        with reading(self._engine) as session:
            counts = sorted((pool, count) for pool, count in session.execute(query))
        return [pool for pool, count in counts for _ in range(min(count, _HINTS_AT_ONCE))]

    def hinted(self, pool: str) -> None:
        unheard = or_(JobRow.hinted_at.is_(None), JobRow.hinted_at < database_now(-_HINT_IS_FRESH))
        queued = (JobRow.pool == pool, JobRow.state == JobState.QUEUED)
        mark = update(JobRow).where(*queued, unheard)
        with writing(self._engine) as session:
            session.execute(mark.values(hinted_at=database_now()))


_EXPIRED = (JobRow.state.in_(LEASED_STATES), JobRow.lease_expires_at < database_now())


def _add_lines(session: Session, claim: Claim, lines: Sequence[ProgressLine]) -> None:
    if not lines:
        return
    last = select(func.max(ProgressRow.sequence)).where(ProgressRow.job_id == claim.job_id)
    first = (session.scalar(last) or 0) + 1
    rows: list[dict[str, Any]] = [
        {
            "job_id": claim.job_id,
            "sequence": sequence,
            "attempt": claim.attempt,
            "type": line.type,
            "line": line_as_json(line),
        }
        for sequence, line in enumerate(lines, first)
    ]
    session.execute(insert(ProgressRow), rows)


def _silence(job: Job) -> str:
    return f"worker {job.worker} was silent for longer than its lease; it died or was cut off"
