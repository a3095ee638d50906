"""What people ask of jobs: submit, cancel, pause, resume, retry, change."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from sqlalchemy import delete, func, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session
from uuid_utils import uuid7

from pgd_core.errors import IllegalMove, InvalidSpec, QuotaExceeded
from pgd_core.jobs.job import (
    LEASED_STATES,
    STRENGTH,
    Job,
    JobState,
    Reason,
    StopRequest,
)
from pgd_core.jobs.machine import Placement, PlacementChange
from pgd_core.jobs.spec import JobSpec
from pgd_core.store.engine import reading, writing
from pgd_core.store.history import JobHistory
from pgd_core.store.idempotency import asked_before, forget_old, request_key, request_sha256
from pgd_core.store.moves import add_event, locked_job, move
from pgd_core.store.named import deleted_of, refuse_deleted
from pgd_core.store.rows import job_of
from pgd_core.store.tables import JobRow, StudyChildRow
from pgd_core.store.teams import locked_team
from pgd_core.store.times import database_now

_WAITING = (JobState.QUEUED, JobState.PAUSED)
_ENDED_BADLY = (JobState.FAILED, JobState.CANCELLED)


class JobRequests(JobHistory):
    """The part of `JobStore` that people reach through the API."""

    def submit(
        self,
        spec: JobSpec,
        placement: Placement = Placement(),  # noqa: B008  frozen
        *,
        max_attempts: int = 3,
        idempotency_key: str | None = None,
        caller: str = "",
        by: str = "",
    ) -> Job:
        key = None if idempotency_key is None else request_key(caller, idempotency_key)
        try:
            with writing(self._engine) as session:
                if key is not None:
                    forget_old(session, key)
                check_quota(session, placement)
                refuse_deleted(session, spec.model_dump(mode="json"))
                return insert_job(
                    session,
                    spec,
                    placement,
                    max_attempts=max_attempts,
                    idempotency_key=key,
                    by=by,
                )
        except (IntegrityError, InvalidSpec, QuotaExceeded):
            before = self.submitted_before(
                spec, placement, idempotency_key=idempotency_key, caller=caller
            )
            if before is None:
                raise
            return before

    def submitted_before(
        self,
        spec: JobSpec,
        placement: Placement,
        *,
        idempotency_key: str | None,
        caller: str = "",
    ) -> Job | None:
        if idempotency_key is None:
            return None
        key = request_key(caller, idempotency_key)
        with reading(self._engine) as session:
            row = asked_before(session, key, _asked(spec, placement))
            return None if row is None else job_of(row)

    def cancel(self, job_id: str, *, by: str = "") -> Job:
        with writing(self._engine) as session:
            job = locked_job(session, job_id)
            if job.state in LEASED_STATES:
                return request_stop(session, job, StopRequest.CANCEL, by=by)
            cancelled = move(
                session,
                job,
                JobState.CANCELLED,
                reason=Reason.CANCELLED_BY_USER,
                finished_at=database_now(),
            )
            add_event(session, job_id, "cancelled", {"reason": Reason.CANCELLED_BY_USER}, by=by)
            return cancelled

    def pause(self, job_id: str, *, by: str = "") -> Job:
        with writing(self._engine) as session:
            job = locked_job(session, job_id)
            _refuse_study(job, "paused")
            if job.state in LEASED_STATES:
                return request_stop(session, job, StopRequest.PAUSE, by=by)
            paused = move(session, job, JobState.PAUSED, reason=Reason.PAUSED_BY_USER)
            add_event(session, job_id, "paused", {"reason": Reason.PAUSED_BY_USER}, by=by)
            return paused

    def resume(self, job_id: str, *, by: str = "") -> Job:
        with writing(self._engine) as session:
            job = locked_job(session, job_id)
            if job.state is not JobState.PAUSED:
                raise IllegalMove(f"job {job_id} is {job.state}; only a paused job is resumed")
            resumed = move(session, job, JobState.QUEUED, hinted_at=None)
            add_event(session, job_id, "resumed", by=by)
            return resumed

    def retry(self, job_id: str, *, by: str = "") -> Job:
        with writing(self._engine) as session:
            job = locked_job(session, job_id)
            if job.state not in _ENDED_BADLY:
                raise IllegalMove(
                    f"job {job_id} is {job.state}; only one that failed or was cancelled is retried"
                )
            check_quota(session, job.placement)
            _refuse_without_its_things(session, job)
            if job.kind == "study":
                _forget_bad_children(session, job_id)
            again = move(
                session, job, JobState.QUEUED, failures=0, finished_at=None, hinted_at=None
            )
            data: dict[str, Any] = {"after": job.reason}
            if job.state is JobState.FAILED:  # a cancelled one's checkpoints are deleted
                data["goes_on_from_attempt"] = job.attempt
            add_event(session, job_id, "retried", data, by=by)
            return again

    def change(self, job_id: str, change: PlacementChange, *, by: str = "") -> Job:
        with writing(self._engine) as session:
            job = locked_job(session, job_id)
            placement = change.of(job.placement)
            changed = _changes(job.placement, placement)
            movable = ("priority",) if job.state in LEASED_STATES else tuple(changed)
            if job.state not in (*_WAITING, *LEASED_STATES) or set(changed) - set(movable):
                raise IllegalMove(
                    f"job {job_id} is {job.state}: of a running job only the priority can be "
                    "changed, of one that has ended nothing; pause it first"
                )
            if "team" in changed:
                check_quota(session, placement)
            elif "gpus" in changed:
                _refuse_too_many(session, placement)
            return move_to(session, job, placement, by=by)


def move_to(session: Session, job: Job, placement: Placement, *, by: str) -> Job:
    """The job in its new place; the caller holds its row and has seen that it may go there."""
    changed = _changes(job.placement, placement)
    if not changed:
        return job
    row = session.scalars(
        update(JobRow)
        .where(JobRow.id == job.id)
        .values(**{name: new for name, (_, new) in changed.items()}, hinted_at=None)
        .returning(JobRow)
        .execution_options(populate_existing=True, synchronize_session=False)
    ).one()
    told = {name: {"from": old, "to": new} for name, (old, new) in changed.items()}
    add_event(session, job.id, "changed", told, by=by)
    return job_of(row)


def insert_job(
    session: Session,
    spec: JobSpec,
    placement: Placement,
    *,
    max_attempts: int,
    idempotency_key: str | None = None,
    by: str,
) -> Job:
    """A new job in the queue, with the first line of its history."""
    row = JobRow(
        id=str(uuid7()),
        kind=spec.kind,
        name=spec.name,
        spec=spec.model_dump(mode="json"),
        spec_sha256=spec_sha256(spec),
        state=JobState.QUEUED,
        **_columns(placement),
        max_attempts=max_attempts,
        idempotency_key=idempotency_key,
        request_sha256=_asked(spec, placement) if idempotency_key else None,
        created_at=database_now(),
    )
    session.add(row)
    session.flush()
    told = _columns(placement) | {"priority": placement.priority.word}
    add_event(session, row.id, "submitted", told, by=by)
    return job_of(row)


def spec_sha256(spec: JobSpec) -> str:
    """Of the spec as canonical JSON: defaults filled in, names sorted, no spaces."""
    content = spec.model_dump(mode="json")
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


def request_stop(
    session: Session, job: Job, request: StopRequest, *, by: str, why: str = ""
) -> Job:
    """Ask the worker to stop a leased job; a stronger request that was made before stays."""
    if job.stop_requested is not None and STRENGTH[job.stop_requested] >= STRENGTH[request]:
        return job
    row = session.scalars(
        update(JobRow)
        .where(JobRow.id == job.id)
        .values(stop_requested=request)
        .returning(JobRow)
        .execution_options(populate_existing=True, synchronize_session=False)
    ).one()
    add_event(session, job.id, f"{request}_requested", {"why": why} if why else {}, by=by)
    return job_of(row)


def check_quota(session: Session, placement: Placement) -> None:
    """NotFound for an unknown team; QuotaExceeded when it may queue no such job."""
    _refuse_too_many(session, placement)
    limit = locked_team(session, placement.team).max_queued_jobs
    if limit is None:
        return
    waiting = select(func.count()).where(JobRow.team == placement.team, JobRow.state.in_(_WAITING))
    found = session.scalar(waiting) or 0
    if found >= limit:
        raise QuotaExceeded(
            f"team {placement.team!r} has {found} jobs waiting, and may have {limit}; wait until "
            "one starts, or cancel one"
        )


def _refuse_too_many(session: Session, placement: Placement) -> None:
    limit = locked_team(session, placement.team).max_running_gpus
    if limit is not None and placement.needs.gpus > limit:
        raise QuotaExceeded(
            f"team {placement.team!r} may run {limit} GPUs at once, and the job asks for "
            f"{placement.needs.gpus}; ask for fewer"
        )


def _asked(spec: JobSpec, placement: Placement) -> str:
    return request_sha256(spec_sha256(spec), _columns(placement))


def _columns(placement: Placement) -> dict[str, Any]:
    return {
        "pool": placement.pool,
        "team": placement.team,
        "priority": int(placement.priority),
        "gpus": placement.needs.gpus,
        "min_memory_mb": placement.needs.min_memory_mb,
    }


def _changes(old: Placement, new: Placement) -> dict[str, tuple[Any, Any]]:
    before, after = _columns(old), _columns(new)
    return {name: (before[name], after[name]) for name in after if before[name] != after[name]}


def _refuse_study(job: Job, verb: str) -> None:
    if job.kind == "study":
        raise IllegalMove(f"a study cannot be {verb}; its jobs can: see its children")


def _refuse_without_its_things(session: Session, job: Job) -> None:
    gone = deleted_of(session, job.spec)
    if gone:
        why = "; ".join(problem.message for problem in gone)
        raise IllegalMove(f"job {job.id} cannot be tried again: {why}; submit it anew with another")


def _forget_bad_children(session: Session, study_id: str) -> None:
    """A retried study asks for the jobs that failed or were cancelled anew."""
    bad = select(JobRow.id).where(JobRow.state.in_(_ENDED_BADLY))
    session.execute(
        delete(StudyChildRow).where(
            StudyChildRow.study_id == study_id, StudyChildRow.job_id.in_(bad)
        )
    )
