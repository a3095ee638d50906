"""Counts over all tables: `jobs.figures.FiguresStore`."""

from __future__ import annotations

import threading
import time
from collections import Counter

from sqlalchemy import Engine, func, select
from sqlalchemy.orm import Session

from pgd_core.jobs.figures import Figures
from pgd_core.jobs.job import LEASED_STATES, JobState
from pgd_core.jobs.machine import WorkerState
from pgd_core.store.engine import reading
from pgd_core.store.tables import EventRow, JobRow, WorkerRow
from pgd_core.store.times import seconds_since
from pgd_core.store.webhook_tables import DeliveryRow

ATTEMPTS_EVERY_S = 60.0  # counting them looks through every event
_ENDS = ("requeued", "paused", "succeeded", "failed", "cancelled")


class SqlFigures:
    """Implements `FiguresStore`: five questions, and one more a minute."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._lock = threading.Lock()
        self._attempts: dict[str, int] = {}
        self._attempts_at = float("-inf")

    def figures(self) -> Figures:
        with reading(self._engine) as session:
            jobs, oldest_s = _jobs(session)
            used = _slots_used(session)
            workers, free = _workers(session, used)
            states = select(DeliveryRow.state, func.count()).group_by(DeliveryRow.state)
            deliveries = {str(row[0]): int(row[1]) for row in session.execute(states)}
            attempts = self._ended_attempts(session)
        per_pool: Counter[str] = Counter()
        for (pool, _), slots in used.items():
            per_pool[pool] += slots
        return Figures(jobs, oldest_s, workers, dict(per_pool), free, attempts, deliveries)

    def _ended_attempts(self, session: Session) -> dict[str, int]:
        with self._lock:
            if time.monotonic() - self._attempts_at >= ATTEMPTS_EVERY_S:
                reason = EventRow.data["reason"].as_string()
                ended = EventRow.kind.in_(_ENDS) & EventRow.data["attempt"].as_string().is_not(None)
                query = select(reason, func.count()).where(ended).group_by(reason)
                self._attempts = {str(name): count for name, count in session.execute(query)}
                self._attempts_at = time.monotonic()
            return self._attempts


def _jobs(session: Session) -> tuple[dict[tuple[str, str, str], int], dict[tuple[str, str], float]]:
    """How many of each state, pool and team; and how long the oldest that waits has waited."""
    labels = (JobRow.state, JobRow.pool, JobRow.team)
    oldest = func.max(seconds_since(JobRow.created_at))
    rows = session.execute(select(*labels, func.count(), oldest).group_by(*labels)).all()
    counts = {(state, pool, team): count for state, pool, team, count, _ in rows}
    queued = JobState.QUEUED
    waits = {(pool, team): age for state, pool, team, _, age in rows if state == queued}
    return counts, waits


def _slots_used(session: Session) -> dict[tuple[str, str], int]:
    """By pool and worker."""
    leased = select(JobRow.pool, JobRow.worker, JobRow.slots).where(JobRow.state.in_(LEASED_STATES))
    used: Counter[tuple[str, str]] = Counter()
    for pool, worker, slots in session.execute(leased):
        used[pool, worker or ""] += len(slots)
    return dict(used)


def _workers(
    session: Session, used: dict[tuple[str, str], int]
) -> tuple[dict[tuple[str, str], int], dict[str, int]]:
    """How many of each pool and state; and slots that an active one could put a job on."""
    counts: Counter[tuple[str, str]] = Counter()
    free: Counter[str] = Counter()
    rows = select(
        WorkerRow.name, WorkerRow.pool, WorkerRow.state, WorkerRow.devices, WorkerRow.unusable
    )
    for name, pool, state, devices, unusable in session.execute(rows):
        counts[pool, state] += 1
        if state == WorkerState.ACTIVE:
            free[pool] += max(0, len(devices) - len(unusable) - used.get((pool, name), 0))
    return dict(counts), dict(free)
