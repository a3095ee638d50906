"""What the order of a pool depends on, read from the tables: its queue, its workers, their jobs."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any

from sqlalchemy import (
    Row,
    Select,
    Text,
    bindparam,
    cast,
    false,
    func,
    literal,
    or_,
    select,
    true,
    union_all,
)
from sqlalchemy.orm import Session, aliased
from sqlalchemy.sql.elements import ColumnElement

from pgd_core.jobs.forecast import Pool
from pgd_core.jobs.job import LEASED_STATES, JobState
from pgd_core.jobs.machine import LIVING, Device, Needs, Offer, Priority, WorkerState, largest
from pgd_core.jobs.scheduling import Machine, Running, SchedulingRules, TeamUse, Waiting
from pgd_core.store.conditions import ONE_ROW, for_workers, in_states
from pgd_core.store.tables import JobRow, TeamRow, WorkerRow
from pgd_core.store.teams import USES, team_uses, use_of
from pgd_core.store.times import seconds_since
from pgd_core.store.turns import in_turn

_RECENT_JOBS = 100  # whose durations stand for those of jobs to come
_Candidate = aliased(JobRow)
_CLASSES = union_all(*(select(literal(int(p)).label("priority")) for p in Priority)).subquery()


def read_pool(session: Session, name: str, rules: SchedulingRules) -> Pool:
    """The whole pool: every waiting job, for the people who wait."""
    durations = read_durations(session, name)
    machines, troubles = read_machines(session, name, durations)
    waiting = (
        select(*_of_waiting(JobRow))
        .where(JobRow.pool == name, in_states(JobState.QUEUED), for_workers())
        .order_by(JobRow.priority.desc(), JobRow.id)
    )
    return Pool(
        name=name,
        teams=team_uses(session, rules.half_life),
        machines=machines,
        waiting=[_waiting(row) for row in session.connection().execute(waiting).all()],
        durations=durations,
        troubles=troubles,
    )


def first_of_teams(session: Session, pool: str, *conditions: ColumnElement[bool]) -> list[Waiting]:
    """Of each team its next job from each class down, of those that meet the conditions on
    candidates.

    One look into the index for each: the length of the queue does not matter.
    """
    rows = session.connection().execute(_first_of_teams(*conditions), {"pool": pool}).all()
    return [_waiting(row) for row in rows]


def seen_in_turn(
    session: Session, offer: Offer, half_life: timedelta
) -> tuple[str | None, dict[str, TeamUse], list[Waiting]]:
    """Take the turn; the asking worker's state, `team_uses` and `first_of_teams`, in one look."""
    asked = {"pool": offer.pool, "worker": offer.worker}
    rows = in_turn(session, _SEEN_IN_TURN, asked).all()
    state = rows[0].worker_state if rows else None
    teams = {row.name: row for row in rows}
    uses = {name: use_of(row, half_life) for name, row in teams.items()}
    return state, uses, [_waiting(row) for row in rows if row.id is not None]


def _first_of_teams(*conditions: ColumnElement[bool]) -> Select[Any]:
    first = (
        select(_Candidate.id)
        .where(
            _Candidate.pool == bindparam("pool"),
            in_states(JobState.QUEUED, job=_Candidate),
            _Candidate.team == TeamRow.name,
            _Candidate.priority <= _CLASSES.c.priority,
            for_workers(_Candidate),
            *conditions,
        )
        # PostgreSQL would look for the lowest id of all jobs that ever were, if the class were
        # given and not a part of the order.
        .order_by(_Candidate.priority.desc(), _Candidate.id)
        .limit(ONE_ROW)
        .correlate(TeamRow, _CLASSES)
        .scalar_subquery()
    )
    # Distinct, as a job may be the next of several classes; and so that PostgreSQL looks its row up
    # by its id, and does not read all jobs to join them.
    firsts = select(first.label("id")).select_from(TeamRow).join(_CLASSES, true())
    found = firsts.distinct().subquery()
    return select(*_of_waiting(JobRow)).join(found, found.c.id == JobRow.id)


def fits_one_of(needs: Sequence[Needs]) -> ColumnElement[bool]:
    """Whether a candidate's needs lie within one of these."""
    return or_(
        false(),
        *(
            (_Candidate.gpus <= most.gpus) & (_Candidate.min_memory_mb <= most.min_memory_mb)
            for most in largest(needs)
        ),
    )


def not_behind(team: str, priority: Priority) -> ColumnElement[bool]:
    """Whether a candidate is another team's, or of a higher class."""
    return (_Candidate.team != team) | (_Candidate.priority > priority)


def within_limit(team: str, gpus: int) -> ColumnElement[bool]:
    """Whether a candidate is another team's, or asks for no more."""
    return (_Candidate.team != team) | (_Candidate.gpus <= gpus)


def of_kinds(kinds: Sequence[str]) -> ColumnElement[bool]:
    """Whether a candidate is of one of the kinds."""
    return _Candidate.kind.in_(kinds)


def read_machines(
    session: Session, pool: str, durations: Mapping[str, float]
) -> tuple[list[Machine], dict[str, str]]:
    """The living workers with what they run, and their troubles."""
    rows = session.connection().execute(_WORKERS, {"pool": pool}).all()
    running: dict[str, list[Running]] = defaultdict(list)
    for job in _read_running(session, pool, durations):
        running[job.worker].append(job)
    machines = [_machine(row, running[row.name]) for row in rows]
    return machines, {row.name: row.trouble for row in rows if row.trouble}


def _machine(row: Any, running: Sequence[Running]) -> Machine:
    devices, unusable = _devices(row.devices), _slots(row.unusable)
    return Machine(
        row.name,
        tuple(device for device in devices if device.slot not in unusable),
        tuple(running),
        draining=row.state == WorkerState.DRAINING,
        out_of_use=tuple(device for device in devices if device.slot in unusable),
    )


# Hundreds of rows a decision, and the same few texts again and again.
@lru_cache(maxsize=1024)
def _devices(text: str) -> tuple[Device, ...]:
    return tuple(Device(**device) for device in json.loads(text))


@lru_cache(maxsize=4096)
def _slots(text: str) -> tuple[int, ...]:
    return tuple(json.loads(text))


def read_durations(session: Session, pool: str) -> dict[str, float]:
    """By kind, how long jobs took on average that succeeded lately, seconds."""
    rows = session.connection().execute(_DURATIONS, {"pool": pool}).all()
    return {kind: float(took_s) for kind, took_s in rows}


def _read_running(session: Session, pool: str, durations: Mapping[str, float]) -> list[Running]:
    rows: Sequence[Any] = session.connection().execute(_RUNNING, {"pool": pool}).all()
    found = []
    for row in rows:
        # At once: a name at a time would take twice as long, and there may be a thousand rows.
        id, team, priority, worker, slots, claimed_at, stopping, kind, name, *told = row
        ends_in_s = _ends_in_s(claimed_at, durations.get(kind), *told)
        held = (worker or "", _slots(slots), claimed_at, ends_in_s)
        found.append(Running(id, team, _PRIORITIES[priority], *held, stopping, kind, name))
    return found


def _ends_in_s(
    claimed_at: datetime,
    lasts_s: float | None,  # as jobs of its kind do
    runs_s: float,
    eta_s: float | None,  # as its trainer said
    told_at: str | None,
) -> float | None:
    """By the trainer's own estimate, else by how long jobs of its kind take."""
    said = None if told_at is None else _instant(told_at)
    # What was said before the claim was said by an earlier attempt.
    if eta_s is not None and said is not None and said >= claimed_at:
        age_s = runs_s - (said - claimed_at).total_seconds()
        return max(0.0, eta_s - max(0.0, age_s))
    return None if lasts_s is None else max(0.0, lasts_s - runs_s)


def _instant(text: str) -> datetime | None:
    """A trainer's word for a time; None where it is none: its fault holds up nobody else."""
    try:
        said = datetime.fromisoformat(text)
    except ValueError:
        return None
    return said if said.tzinfo else said.replace(tzinfo=UTC)


def _of_waiting(job: Any) -> tuple[Any, ...]:
    return (
        job.id,
        job.team,
        job.priority,
        job.gpus,
        job.min_memory_mb,
        job.kind,
        job.name.label("job_name"),
        job.attempt,
    )


def _waiting(row: Row[Any]) -> Waiting:
    needs = Needs(row.gpus, row.min_memory_mb)
    return Waiting(
        row.id, row.team, Priority(row.priority), needs, row.kind, row.job_name, row.attempt
    )


def _seen_in_turn() -> Select[Any]:
    uses, firsts = USES.subquery("uses"), _first_of_teams().subquery("firsts")
    asks = select(WorkerRow.state).where(WorkerRow.name == bindparam("worker")).scalar_subquery()
    return select(
        asks.label("worker_state"),
        *uses.c,
        *firsts.c,
    ).outerjoin_from(uses, firsts, firsts.c.team == uses.c.name)


def _durations() -> Select[Any]:
    recent = (
        select(JobRow.kind, (JobRow.gpu_s / JobRow.gpus).label("took_s"))
        .where(
            JobRow.pool == bindparam("pool"),
            in_states(JobState.SUCCEEDED),
            JobRow.gpu_s > 0,
        )
        .order_by(JobRow.finished_at.desc())
        .limit(_RECENT_JOBS)
        .subquery()
    )
    return select(recent.c.kind, func.avg(recent.c.took_s)).group_by(recent.c.kind)


# Built once: claims are on the hot path.
_SEEN_IN_TURN = _seen_in_turn()
_DURATIONS = _durations()
_WORKERS = (
    select(
        WorkerRow.name,
        cast(WorkerRow.devices, Text).label("devices"),
        WorkerRow.state,
        WorkerRow.trouble,
        cast(WorkerRow.unusable, Text).label("unusable"),
    )
    .where(WorkerRow.pool == bindparam("pool"), WorkerRow.state.in_(LIVING))
    .order_by(WorkerRow.name)
)
_RUNNING = select(
    JobRow.id,
    JobRow.team,
    JobRow.priority,
    JobRow.worker,
    cast(JobRow.slots, Text),
    JobRow.claimed_at,
    JobRow.stop_requested.is_not(None),
    JobRow.kind,
    JobRow.name,
    seconds_since(JobRow.claimed_at),
    JobRow.progress["eta_s"].as_float(),
    JobRow.progress["at"].as_string(),
).where(
    JobRow.pool == bindparam("pool"),
    in_states(*LEASED_STATES),
    JobRow.claimed_at.is_not(None),
    for_workers(),
)
_PRIORITIES = {int(priority): priority for priority in Priority}
