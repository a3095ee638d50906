"""Claiming: the next job for what a worker has free, by the rules of `jobs.scheduling`.

Claims take turns (one lock for all of them), so that limits, shares and reservations are exact, not
nearly so. A turn is a few looks into indexes, whatever the length of the queue.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import timedelta

from sqlalchemy import Double, UpdateBase, bindparam, func, select, update
from sqlalchemy.orm import Session
from sqlalchemy.sql.elements import ColumnElement

from pgd_core.jobs.job import Claim, Job, JobState, check_move
from pgd_core.jobs.machine import (
    Offer,
    WorkerState,
    chosen,
    fits,
    steps,
)
from pgd_core.jobs.scheduling import (
    Machine,
    Reservation,
    SchedulingRules,
    TeamUse,
    Waiting,
    in_order,
    reservation,
    within_limits,
)
from pgd_core.store.moves import add_event
from pgd_core.store.pools import (
    first_of_teams,
    fits_one_of,
    not_behind,
    of_kinds,
    read_durations,
    read_machines,
    uses_and_firsts,
    within_limit,
)
from pgd_core.store.rows import job_of
from pgd_core.store.tables import Base, WorkerRow
from pgd_core.store.times import database_now


def claim_next(
    session: Session, offer: Offer, lease: timedelta, rules: SchedulingRules
) -> tuple[Job, Claim] | None:
    """The next job that the offer serves, taken; None when there is none."""
    if not offer.free or take_turn(session, offer.worker) in _CLAIMS_NOTHING:
        return None
    while (found := _next(session, offer, rules)) is not None:
        taken = _take(session, found, offer, lease)
        if taken is not None:
            return taken
    return None


def take_turn(session: Session, worker: str = "") -> str | None:
    """Wait for all other decisions about the order; SQLite lets one writer in at a time anyway.

    Returns the state of the worker, in the same look, of just before the turn.
    """
    postgresql = session.get_bind().dialect.name == "postgresql"
    state: str | None = session.connection().scalar(
        _STATE_IN_TURN if postgresql else _STATE, {"worker": worker}
    )
    return state


def _next(session: Session, offer: Offer, rules: SchedulingRules) -> Waiting | None:
    uses, heads = uses_and_firsts(session, offer.pool, rules.half_life)
    if not heads:
        return None
    first = in_order(heads, uses)[0]
    if uses[first.team].allows(first.needs.gpus) and fits(first.needs, offer.free):
        return first
    return _next_around(session, offer, uses)


def _next_around(session: Session, offer: Offer, uses: Mapping[str, TeamUse]) -> Waiting | None:
    """When the first in order cannot start here: who may, without holding it up."""
    durations = read_durations(session, offer.pool)
    machines = _claiming(session, offer, durations)
    now, blocked = within_limits(startable(session, offer.pool, machines, uses), uses)
    reserved: Reservation | None = None
    for job in now:
        if fits(job.needs, offer.free):
            return job
        if not any(fits(job.needs, machine.free) for machine in machines):
            reserved = reservation(job, machines)
            break
    conditions = [
        fits_one_of(steps(offer.free)),
        *(not_behind(team, priority) for team, priority in blocked.items()),
        *_below_limits(uses, running=True),
    ]
    if reserved is not None and reserved.worker == offer.worker:
        short = [kind for kind, lasts_s in durations.items() if reserved.in_time(lasts_s)]
        conditions.append(fits_one_of(reserved.room(offer.free)) | of_kinds(short))
    return next(iter(in_order(first_of_teams(session, offer.pool, *conditions), uses)), None)


def startable(
    session: Session, pool: str, machines: Sequence[Machine], uses: Mapping[str, TeamUse]
) -> list[Waiting]:
    """In order, of each team and class the next job that these workers and its team's limit allow
    at all."""
    possible = [most for machine in machines for most in steps(machine.devices)]
    conditions = [fits_one_of(possible), *_below_limits(uses)]
    return in_order(first_of_teams(session, pool, *conditions), uses)


def _claiming(session: Session, offer: Offer, durations: Mapping[str, float]) -> list[Machine]:
    """The workers that claim; the one that asks has what it offers and what it runs."""
    machines, _ = read_machines(session, offer.pool, durations)
    asks = next((machine for machine in machines if machine.name == offer.worker), None)
    others = [m for m in machines if m is not asks and m.devices and not m.draining]
    if asks is None:
        return [*others, Machine(offer.worker, tuple(offer.free))]
    slots = {slot for job in asks.running for slot in job.slots} | {d.slot for d in offer.free}
    devices = tuple(d for d in asks.devices + asks.out_of_use if d.slot in slots)
    return [*others, replace(asks, devices=devices)]


def _below_limits(uses: Mapping[str, TeamUse], running: bool = False) -> list[ColumnElement[bool]]:
    return [
        within_limit(use.name, use.max_running_gpus - (use.running_gpus if running else 0))
        for use in uses.values()
        if use.max_running_gpus is not None
    ]


def _take(
    session: Session, found: Waiting, offer: Offer, lease: timedelta
) -> tuple[Job, Claim] | None:
    """The job, claimed; None when it was cancelled, paused or moved just now."""
    devices = chosen(found.needs, offer.free)
    token = secrets.token_hex(16)
    values = {
        "found": found.id,
        "of_pool": offer.pool,
        "of_team": found.team,
        "of_priority": found.priority,
        "of_gpus": found.needs.gpus,
        "of_memory": found.needs.min_memory_mb,
        "worker": offer.worker,
        "slots": [device.slot for device in devices],
        "lease_token": token,
        "lease_s": lease.total_seconds(),
    }
    row = session.connection().execute(_TAKE, values).one_or_none()
    if row is None:
        return None
    job = job_of(row)
    told = {"attempt": job.attempt, "slots": job.slots, "devices": [d.name for d in devices]}
    add_event(session, job.id, "claimed", told, by=offer.worker)
    return job, Claim(job.id, job.attempt, token)


def _taking() -> UpdateBase:
    check_move(JobState.QUEUED, JobState.STARTING)
    jobs = Base.metadata.tables["jobs"]  # a table and not objects, and built once: the hot path
    return (
        update(jobs)
        .where(
            jobs.c.id == bindparam("found"),
            jobs.c.state == JobState.QUEUED,
            jobs.c.pool == bindparam("of_pool"),
            jobs.c.team == bindparam("of_team"),
            jobs.c.priority == bindparam("of_priority"),
            jobs.c.gpus == bindparam("of_gpus"),
            jobs.c.min_memory_mb == bindparam("of_memory"),
        )
        .values(
            state=JobState.STARTING,
            attempt=jobs.c.attempt + 1,
            worker=bindparam("worker"),
            slots=bindparam("slots"),
            lease_token=bindparam("lease_token"),
            lease_expires_at=database_now(bindparam("lease_s", type_=Double)),
            claimed_at=database_now(),
        )
        .returning(jobs)
    )


_TAKE = _taking()
_STATE = select(
    select(WorkerRow.state).where(WorkerRow.name == bindparam("worker")).scalar_subquery()
)
# Any number, the same in every process.
_STATE_IN_TURN = _STATE.add_columns(func.pg_advisory_xact_lock(7407316))
_CLAIMS_NOTHING = (WorkerState.DRAINING, WorkerState.STOPPED)
