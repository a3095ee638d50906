"""The queue in SQL: `jobs.protocols.JobStore` on SQLite and on PostgreSQL."""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from sqlalchemy import func, insert, or_, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session
from uuid_utils import uuid7

from pgd_core.errors import Conflict
from pgd_core.jobs.job import (
    LEASED_STATES,
    Artifact,
    Claim,
    Job,
    JobState,
    Reason,
    check_move,
)
from pgd_core.jobs.protocols import Orders
from pgd_core.jobs.run import ProgressLine
from pgd_core.jobs.spec import JobSpec
from pgd_core.store.engine import reading, writing
from pgd_core.store.history import JobHistory, for_workers
from pgd_core.store.moves import (
    add_event,
    claimed_job,
    end_attempt,
    lease_lost,
    locked_job,
    move,
)
from pgd_core.store.rows import job_of, line_as_json
from pgd_core.store.tables import JobRow, ProgressRow
from pgd_core.store.times import database_now

# Workers that one round wakes in a pool; a worker that is awake goes on by itself.
_HINTS_AT_ONCE = 64


class SqlJobStore(JobHistory):
    """Implements `JobStore`, its looking part by `JobHistory`; see there what each promises."""

    # Submitting and cancelling

    def submit(
        self,
        spec: JobSpec,
        *,
        pool: str = "default",
        priority: int = 0,
        max_attempts: int = 3,
        idempotency_key: str | None = None,
    ) -> Job:
        try:
            with writing(self._engine) as session:
                return insert_job(
                    session,
                    spec,
                    pool=pool,
                    priority=priority,
                    max_attempts=max_attempts,
                    idempotency_key=idempotency_key,
                )
        except IntegrityError:
            if idempotency_key is None:
                raise
        return self._submitted_before(idempotency_key, spec)

    def _submitted_before(self, idempotency_key: str, spec: JobSpec) -> Job:
        with reading(self._engine) as session:
            row = session.scalars(
                select(JobRow).where(JobRow.idempotency_key == idempotency_key)
            ).one()
            if row.spec_sha256 != spec_sha256(spec):
                raise Conflict(
                    f"idempotency key {idempotency_key!r} was used for job {row.id} with another "
                    "spec; send a new key"
                )
            return job_of(row)

    def cancel(self, job_id: str) -> Job:
        with writing(self._engine) as session:
            job = locked_job(session, job_id)
            if job.state in LEASED_STATES:
                return _request_cancel(session, job)
            cancelled = move(
                session,
                job,
                JobState.CANCELLED,
                reason=Reason.CANCELLED_BY_USER,
                cancel_requested=True,
                finished_at=database_now(),
            )
            add_event(session, job_id, "cancelled", {"reason": Reason.CANCELLED_BY_USER})
            return cancelled

    # A worker's side

    def claim(self, worker: str, pool: str, lease: timedelta) -> tuple[Job, Claim] | None:
        first = (
            select(JobRow)
            .where(JobRow.pool == pool, JobRow.state == JobState.QUEUED, for_workers())
            .order_by(JobRow.priority.desc(), JobRow.id)
            .limit(1)
        )
        with writing(self._engine) as session:
            # SKIP LOCKED gives two workers two jobs on PostgreSQL; SQLite, which does not know it,
            # lets one in at a time. A row may also be held by whoever only notes a hint: the last
            # one is waited for, or its job would stay until the next hint.
            row = session.scalar(first.with_for_update(skip_locked=True))
            row = row or session.scalar(first.with_for_update())
            if row is None:
                return None
            token = secrets.token_hex(16)
            job = move(
                session,
                job_of(row),
                JobState.STARTING,
                attempt=JobRow.attempt + 1,
                worker=worker,
                lease_token=token,
                lease_expires_at=database_now(lease),
            )
            add_event(session, job.id, "claimed", {"worker": worker, "attempt": job.attempt})
            return job, Claim(job.id, job.attempt, token)

    def started(self, claim: Claim) -> None:
        with writing(self._engine) as session:
            job = claimed_job(session, claim)
            check_move(job.state, JobState.RUNNING)
            first_start = func.coalesce(JobRow.started_at, database_now())
            move(session, job, JobState.RUNNING, started_at=first_start)
            add_event(session, job.id, "started", {"attempt": claim.attempt})

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
            .returning(JobRow.cancel_requested)
        )
        with writing(self._engine) as session:
            cancel = session.scalar(renew)
            if cancel is None:
                raise lease_lost(claim)
            _add_lines(session, claim, lines)
            return Orders(cancel=cancel)

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
            return end_attempt(session, job, reason, message, result=result, artifacts=artifacts)

    # The reconciler's side

    def expire_leases(self) -> Sequence[Job]:
        expired = (
            select(JobRow)
            .where(JobRow.state.in_(LEASED_STATES), JobRow.lease_expires_at < database_now())
            .order_by(JobRow.id)
            .with_for_update(skip_locked=True)
        )
        with writing(self._engine) as session:
            jobs = [job_of(row) for row in session.scalars(expired)]
            return [end_attempt(session, job, Reason.WORKER_LOST, _silence(job)) for job in jobs]

    def pending_hints(self, *, again_after: timedelta) -> Sequence[str]:
        unheard = or_(JobRow.hinted_at.is_(None), JobRow.hinted_at < database_now(-again_after))
        waiting = (JobRow.state == JobState.QUEUED, for_workers(), unheard)
        query = select(JobRow.pool, func.count()).where(*waiting).group_by(JobRow.pool)
        with reading(self._engine) as session:
            counts = sorted((pool, count) for pool, count in session.execute(query))
        return [pool for pool, count in counts for _ in range(min(count, _HINTS_AT_ONCE))]

    def hinted(self, pool: str) -> None:
        mark = update(JobRow).where(JobRow.pool == pool, JobRow.state == JobState.QUEUED)
        with writing(self._engine) as session:
            session.execute(mark.values(hinted_at=database_now()))


def insert_job(
    session: Session,
    spec: JobSpec,
    *,
    pool: str,
    priority: int,
    max_attempts: int,
    idempotency_key: str | None = None,
) -> Job:
    """A new job in the queue, with the first line of its history."""
    row = JobRow(
        id=str(uuid7()),
        kind=spec.kind,
        name=spec.name,
        spec=spec.model_dump(mode="json"),
        spec_sha256=spec_sha256(spec),
        state=JobState.QUEUED,
        pool=pool,
        priority=priority,
        max_attempts=max_attempts,
        idempotency_key=idempotency_key,
        created_at=database_now(),
    )
    session.add(row)
    session.flush()
    add_event(session, row.id, "submitted", {"pool": pool, "priority": priority})
    return job_of(row)


def spec_sha256(spec: JobSpec) -> str:
    """Of the spec as canonical JSON: defaults filled in, names sorted, no spaces."""
    content = spec.model_dump(mode="json")
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


def _request_cancel(session: Session, job: Job) -> Job:
    row = session.scalars(
        update(JobRow)
        .where(JobRow.id == job.id)
        .values(cancel_requested=True)
        .returning(JobRow)
        .execution_options(populate_existing=True, synchronize_session=False)
    ).one()
    if not job.cancel_requested:
        add_event(session, job.id, "cancel_requested", {})
    return job_of(row)


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
