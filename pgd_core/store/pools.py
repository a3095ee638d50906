"""What the order of a pool depends on, read from the tables: its queue, its workers, their jobs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Row, false, func, literal, or_, select, true, union_all
from sqlalchemy.orm import Session, aliased
from sqlalchemy.sql.elements import ColumnElement

from pgd_core.jobs.forecast import Pool
from pgd_core.jobs.job import LEASED_STATES, JobState
from pgd_core.jobs.machine import LIVING, Device, Needs, Priority, WorkerState
from pgd_core.jobs.scheduling import Machine, Running, SchedulingRules, Waiting
from pgd_core.store.history import for_workers
from pgd_core.store.tables import JobRow, TeamRow, WorkerRow
from pgd_core.store.teams import team_uses
from pgd_core.store.times import database_now, seconds_since

_RECENT_JOBS = 100  # whose durations stand for those of jobs to come
_Candidate = aliased(JobRow)
_CLASSES = union_all(*(select(literal(int(p)).label("priority")) for p in Priority)).subquery()


def read_pool(session: Session, name: str, rules: SchedulingRules) -> Pool:
    """The whole pool: every waiting job, for the people who wait."""
    durations = read_durations(session, name)
    machines, troubles = read_machines(session, name, durations)
    waiting = (
        select(*_of_waiting(JobRow))
        .where(JobRow.pool == name, JobRow.state == JobState.QUEUED, for_workers())
        .order_by(JobRow.priority.desc(), JobRow.id)
    )
    return Pool(
        name=name,
        teams=team_uses(session, rules.half_life),
        machines=machines,
        waiting=[_waiting(row) for row in session.execute(waiting)],
        durations=durations,
        troubles=troubles,
    )


def first_of_teams(session: Session, pool: str, *conditions: ColumnElement[bool]) -> list[Waiting]:
    """Of each team its next job of each class, of those that meet the conditions on candidates.

    One look into the index for each: the length of the queue does not matter.
    """
    first = (
        select(_Candidate.id)
        .where(
            _Candidate.pool == pool,
            _Candidate.state == JobState.QUEUED,
            _Candidate.team == TeamRow.name,
            _Candidate.priority == _CLASSES.c.priority,
            _Candidate.kind != "study",
            *conditions,
        )
        .order_by(_Candidate.id)
        .limit(1)
        .correlate(TeamRow, _CLASSES)
        .scalar_subquery()
    )
    query = (
        select(*_of_waiting(JobRow))
        .select_from(TeamRow)
        .join(_CLASSES, true())
        .join(JobRow, JobRow.id == first)
    )
    return [_waiting(row) for row in session.execute(query)]


def fits_one_of(needs: Sequence[Needs]) -> ColumnElement[bool]:
    """Whether a candidate's needs lie within one of these."""
    return or_(
        false(),
        *(
            (_Candidate.gpus <= most.gpus) & (_Candidate.min_memory_mb <= most.min_memory_mb)
            for most in needs
        ),
    )


def of_other_teams(names: set[str]) -> ColumnElement[bool]:
    """Whether a candidate belongs to none of these teams."""
    return _Candidate.team.not_in(sorted(names))


def within_limit(team: str, gpus: int) -> ColumnElement[bool]:
    """Whether a candidate is another team's, or asks for no more."""
    return (_Candidate.team != team) | (_Candidate.gpus <= gpus)


def small_or_of_kind(gpus: int, kinds: Sequence[str]) -> ColumnElement[bool]:
    """Whether a candidate asks for no more, or is of one of the kinds."""
    return (_Candidate.gpus <= gpus) | _Candidate.kind.in_(kinds)


def read_machines(
    session: Session, pool: str, durations: Mapping[str, float]
) -> tuple[list[Machine], dict[str, str]]:
    """The living workers with what they run, and the troubles of those that claim nothing."""
    workers = select(WorkerRow).where(WorkerRow.pool == pool, WorkerRow.state.in_(LIVING))
    rows = list(session.scalars(workers.order_by(WorkerRow.name)))
    running = _read_running(session, pool, durations)
    machines = [
        Machine(
            row.name,
            tuple(Device(**device) for device in row.devices),
            tuple(job for job in running if job.worker == row.name),
            draining=row.state == WorkerState.DRAINING,
        )
        for row in rows
    ]
    return machines, {row.name: row.trouble for row in rows if row.trouble}


def read_durations(session: Session, pool: str) -> dict[str, float]:
    """By kind, how long jobs took on average that succeeded lately, seconds."""
    recent = (
        select(JobRow.kind, (JobRow.gpu_s / JobRow.gpus).label("took_s"))
        .where(
            JobRow.pool == pool,
            JobRow.state == JobState.SUCCEEDED,
            JobRow.gpu_s > 0,
        )
        .order_by(JobRow.finished_at.desc())
        .limit(_RECENT_JOBS)
        .subquery()
    )
    query = select(recent.c.kind, func.avg(recent.c.took_s)).group_by(recent.c.kind)
    return {kind: float(took_s) for kind, took_s in session.execute(query)}


def _read_running(session: Session, pool: str, durations: Mapping[str, float]) -> list[Running]:
    query = select(
        JobRow.id,
        JobRow.kind,
        JobRow.name,
        JobRow.team,
        JobRow.priority,
        JobRow.worker,
        JobRow.slots,
        JobRow.claimed_at,
        JobRow.progress,
        JobRow.stop_requested,
        seconds_since(JobRow.claimed_at).label("runs_s"),
        database_now().label("now"),
    ).where(
        JobRow.pool == pool,
        JobRow.state.in_(LEASED_STATES),
        JobRow.claimed_at.is_not(None),
        for_workers(),
    )
    return [
        Running(
            row.id,
            row.team,
            Priority(row.priority),
            row.worker or "",
            tuple(row.slots),
            row.claimed_at,
            _ends_in_s(row, durations),
            stopping=row.stop_requested is not None,
            kind=row.kind,
            name=row.name,
        )
        for row in session.execute(query)
    ]


def _ends_in_s(row: Row[Any], durations: Mapping[str, float]) -> float | None:
    """By the trainer's own estimate, else by how long jobs of its kind take."""
    eta_s, said = row.progress.get("eta_s"), _moment(row.progress.get("at"))
    if eta_s is not None and said is not None:
        age_s: float = (row.now - said).total_seconds()
        return max(0.0, float(eta_s) - max(0.0, age_s))
    lasts_s = durations.get(row.kind)
    return None if lasts_s is None else max(0.0, lasts_s - float(row.runs_s))


def _moment(text: str | None) -> datetime | None:
    """What a trainer wrote as a time; None where it is none: its fault holds up nobody else."""
    try:
        said = datetime.fromisoformat(text or "")
    except ValueError:
        return None
    return said if said.tzinfo else said.replace(tzinfo=UTC)


def _of_waiting(job: Any) -> tuple[Any, ...]:
    return job.id, job.team, job.priority, job.gpus, job.min_memory_mb, job.kind, job.name


def _waiting(row: Row[Any]) -> Waiting:
    needs = Needs(row.gpus, row.min_memory_mb)
    return Waiting(row.id, row.team, Priority(row.priority), needs, row.kind, row.name)
