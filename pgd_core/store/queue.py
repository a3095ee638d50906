"""The queue as people see it, and the decisions that no single worker makes."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Engine, select
from sqlalchemy.orm import Session

from pgd_core.jobs.forecast import Pool
from pgd_core.jobs.job import LEASED_STATES, Job, JobState, StopRequest
from pgd_core.jobs.machine import LIVING
from pgd_core.jobs.scheduling import SchedulingRules, Waiting, in_order, victims
from pgd_core.store.claiming import take_turn
from pgd_core.store.engine import reading, writing
from pgd_core.store.history import for_workers
from pgd_core.store.moves import locked_job
from pgd_core.store.pools import first_of_teams, read_durations, read_machines, read_pool
from pgd_core.store.requests import request_stop
from pgd_core.store.tables import JobRow, WorkerRow
from pgd_core.store.teams import team_uses

_SCHEDULER = "scheduler"


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
        return [job for pool in self.pools() for job in self._preempt(pool)]

    def _preempt(self, pool: str) -> list[Job]:
        with writing(self._engine) as session:
            take_turn(session)
            uses = team_uses(session, self._rules.half_life)
            heads = in_order(first_of_teams(session, pool), uses)
            first = next((job for job in heads if uses[job.team].allows(job.needs.gpus)), None)
            return [] if first is None else self._make_room(session, pool, first)

    def _make_room(self, session: Session, pool: str, first: Waiting) -> list[Job]:
        machines, troubles = read_machines(session, pool, read_durations(session, pool))
        claiming = [machine for machine in machines if machine.name not in troubles]
        stopped = []
        for victim in victims(first, claiming):
            job = locked_job(session, victim.id)
            if job.state in LEASED_STATES:
                # The history is read by the job's team, which may not know of another team's job.
                who = f"job {first.id}" if first.team == job.team else "a job of another team"
                why = f"{who}, of class {first.priority.word}, needs its GPUs"
                request = StopRequest.PREEMPT
                stopped.append(request_stop(session, job, request, by=_SCHEDULER, why=why))
        return stopped
