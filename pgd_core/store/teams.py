"""Teams in SQL: their weights and limits, and the GPU time that is charged to them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from sqlalchemy import Engine, Row, Select, func, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from pgd_core.errors import NotFound
from pgd_core.jobs.job import LEASED_STATES, JobState
from pgd_core.jobs.scheduling import TeamUse, decayed
from pgd_core.jobs.teams import Team
from pgd_core.store.conditions import in_states
from pgd_core.store.engine import reading, writing
from pgd_core.store.rows import team_of
from pgd_core.store.tables import JobRow, TeamRow
from pgd_core.store.times import database_now, seconds_since


class SqlTeamStore:
    """Implements `TeamStore`."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def put(
        self,
        name: str,
        *,
        weight: float,
        max_running_gpus: int | None,
        max_queued_jobs: int | None,
    ) -> Team:
        limits = {"max_running_gpus": max_running_gpus, "max_queued_jobs": max_queued_jobs}
        try:
            return self._put(name, weight, limits)
        except IntegrityError:  # somebody else made it just now
            return self._put(name, weight, limits)

    def _put(self, name: str, weight: float, limits: dict[str, int | None]) -> Team:
        with writing(self._engine) as session:
            row = session.get(TeamRow, name, with_for_update=True)
            if row is None:
                now = database_now()
                row = TeamRow(name=name, used_gpu_s=0.0, used_at=now, created_at=now)
                session.add(row)
            row.weight = weight
            row.max_running_gpus = limits["max_running_gpus"]
            row.max_queued_jobs = limits["max_queued_jobs"]
            session.flush()
            session.refresh(row)
            return team_of(row)

    def teams(self) -> Sequence[Team]:
        with reading(self._engine) as session:
            return [team_of(row) for row in session.scalars(select(TeamRow).order_by(TeamRow.name))]

    def waiting_jobs(self, name: str) -> int:
        waiting = JobRow.state.in_((JobState.QUEUED, JobState.PAUSED))
        with reading(self._engine) as session:
            found = session.scalar(select(func.count()).where(JobRow.team == name, waiting))
        return found or 0


def locked_team(session: Session, name: str) -> TeamRow:
    """The team, held until the transaction ends; NotFound names those that exist."""
    row = session.get(TeamRow, name, with_for_update=True)
    if row is None:
        known = ", ".join(session.scalars(select(TeamRow.name).order_by(TeamRow.name)))
        raise NotFound(f"no team {name!r}; there are {known}")
    return row


def team_uses(session: Session, half_life: timedelta) -> dict[str, TeamUse]:
    """By name, what each team has had until now: what ended, decayed, and what runs."""
    return {row.name: use_of(row, half_life) for row in session.connection().execute(USES)}


def use_of(row: Row[Any], half_life: timedelta) -> TeamUse:
    """What a row of `USES` says."""
    used = decayed(row.used_gpu_s, timedelta(seconds=row.age_s), half_life)
    return TeamUse(
        row.name, row.weight, used + row.running_gpu_s, row.running_gpus, row.max_running_gpus
    )


def _uses() -> Select[Any]:
    running = (
        select(
            JobRow.team,
            func.sum(JobRow.gpus).label("gpus"),
            func.sum(JobRow.gpus * seconds_since(JobRow.claimed_at)).label("gpu_s"),
        )
        .where(in_states(*LEASED_STATES), JobRow.claimed_at.is_not(None))
        .group_by(JobRow.team)
        .subquery()
    )
    columns: tuple[Any, ...] = (
        TeamRow.name,
        TeamRow.weight,
        TeamRow.used_gpu_s,
        seconds_since(TeamRow.used_at).label("age_s"),
        TeamRow.max_running_gpus,
        func.coalesce(running.c.gpus, 0).label("running_gpus"),
        func.coalesce(running.c.gpu_s, 0.0).label("running_gpu_s"),
    )
    return select(*columns).outerjoin(running, running.c.team == TeamRow.name)


USES = _uses()  # built once: a claim is on the hot path


def charge(session: Session, name: str, gpu_s: float, half_life: timedelta) -> None:
    """Add GPU time to what the team has used."""
    query = select(TeamRow.used_gpu_s, seconds_since(TeamRow.used_at)).where(TeamRow.name == name)
    found = session.execute(query.with_for_update()).one_or_none()
    if found is None:
        return
    used = decayed(found[0], timedelta(seconds=found[1]), half_life) + gpu_s
    session.execute(
        update(TeamRow).where(TeamRow.name == name).values(used_gpu_s=used, used_at=database_now())
    )
