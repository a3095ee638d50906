"""The queue as people see it, and the decisions that no single worker makes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from sqlalchemy import Engine, select
from sqlalchemy.orm import Session

from pgd_core.jobs.forecast import Pool
from pgd_core.jobs.job import LEASED_STATES, Job, JobState, StopRequest
from pgd_core.jobs.machine import LIVING, Priority
from pgd_core.jobs.scheduling import SchedulingRules, Waiting, victims, within_limits
from pgd_core.store.claiming import startable
from pgd_core.store.conditions import for_workers
from pgd_core.store.engine import reading, writing
from pgd_core.store.isolation import one_by_one
from pgd_core.store.moves import locked_job
from pgd_core.store.pools import read_durations, read_machines, read_pool
from pgd_core.store.requests import move_to, request_stop
from pgd_core.store.tables import JobRow, WorkerRow
from pgd_core.store.teams import team_uses
from pgd_core.store.times import database_now
from pgd_core.store.turns import take_turn

_SCHEDULER = "scheduler"
_RAISED_AT_ONCE = 100


class SqlQueue:
    """Implements `Queue`."""

    def __init__(self, engine: Engine, rules: SchedulingRules = SchedulingRules()) -> None:  # noqa: B008
        self._engine, self._rules = engine, rules

    def pools(self) -> Sequence[str]:
        served = select(WorkerRow.pool).where(WorkerRow.state.in_(LIVING)).distinct()
        wanted = select(JobRow.pool).where(JobRow.state == JobState.QUEUED, for_workers())
        with reading(self._engine) as session:
            return sorted({*session.scalars(served), *session.scalars(wanted.distinct())})

    def pool(self, name: str) -> Pool:
        with reading(self._engine) as session:
            return read_pool(session, name, self._rules)

    def preempt(self) -> Sequence[Job]:
        if not self._rules.preempt:
            return []
        return [job for asked in one_by_one(self._preempt, self.pools()) for job in asked]

    def raise_old(self) -> Sequence[Job]:
        old = select(JobRow.id).where(
            JobRow.state == JobState.QUEUED,
            JobRow.priority == Priority.LOW,
            JobRow.created_at < database_now(-self._rules.low_waits),
        )
        with reading(self._engine) as session:
            found = list(session.scalars(old.limit(_RAISED_AT_ONCE)))
        return one_by_one(self._raise, found)

    def _raise(self, job_id: str) -> Job | None:
        with writing(self._engine) as session:
            job = locked_job(session, job_id)
            if job.state is not JobState.QUEUED or job.priority is not Priority.LOW:
                return None
            place = replace(job.placement, priority=Priority.NORMAL)
            return move_to(session, job, place, by=_SCHEDULER)

    def _preempt(self, pool: str) -> list[Job]:
        with writing(self._engine) as session:
            take_turn(session)
            machines, _ = read_machines(session, pool, read_durations(session, pool))
            able = [machine for machine in machines if machine.devices and not machine.draining]
            uses = team_uses(session, self._rules.half_life)
            now, _ = within_limits(startable(session, pool, able, uses), uses)
            return [
                asked
                for first in now[:1]
                for victim in victims(first, able)
                if (asked := _ask(session, victim.id, first)) is not None
            ]


def _ask(session: Session, job_id: str, first: Waiting) -> Job | None:
    """The job, asked to make room; None when it ended or was asked to stop meanwhile."""
    job = locked_job(session, job_id)
    if job.state not in LEASED_STATES or job.stop_requested is not None:
        return None
    # The history is read by the job's team, which may not know of another team's job.
    who = f"job {first.id}" if first.team == job.team else "a job of another team"
    why = f"{who}, of class {first.priority.word}, needs its GPUs"
    return request_stop(session, job, StopRequest.PREEMPT, by=_SCHEDULER, why=why)
