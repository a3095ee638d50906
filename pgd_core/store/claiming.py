"""Claiming: the next job for what a worker has free, by the rules of `jobs.scheduling`.

Claims take turns (one lock for all of them), so that limits, shares and reservations are exact, not
nearly so. A turn is a few looks into indexes, whatever the length of the queue.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import timedelta

from sqlalchemy import Double, UpdateBase, bindparam, update
from sqlalchemy.orm import Session
from sqlalchemy.sql.elements import ColumnElement

from pgd_core.jobs.job import Claim, Job, JobState, check_move
from pgd_core.jobs.machine import (
    Needs,
    Offer,
    WorkerState,
    chosen,
    fits,
    largest,
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
from pgd_core.store.moves import adding_event
from pgd_core.store.pools import (
    first_of_teams,
    fits_one_of,
    not_behind,
    of_kinds,
    read_durations,
    read_machines,
    seen_in_turn,
    within_limit,
)
from pgd_core.store.rows import job_of
from pgd_core.store.tables import Base
from pgd_core.store.times import database_now
from pgd_core.store.turns import end_turn


def claim_next(
    session: Session, offer: Offer, lease: timedelta, rules: SchedulingRules
) -> tuple[Job, Claim] | None:
    """The next job that the offer serves, taken; None when there is none."""
    while offer.free and (found := _next(session, offer, rules)) is not None:
        taken = _take(session, found, offer, lease)
        if taken is not None:
            return taken
    return None


def _next(session: Session, offer: Offer, rules: SchedulingRules) -> Waiting | None:
    """Who it is by now: it takes the turn, and keeps it until the transaction ends."""
    state, uses, heads = seen_in_turn(session, offer, rules.half_life)
    if state in _CLAIMS_NOTHING or not heads:
        return None
    first = in_order(heads, uses)[0]
    if uses[first.team].allows(first.needs.gpus) and fits(first.needs, offer.free):
        return first
    return _next_around(session, offer, uses, heads)


def _next_around(
    session: Session,
    offer: Offer,
    uses: Mapping[str, TeamUse],
    heads: Sequence[Waiting],  # of each team and class the next job, whatever it needs
) -> Waiting | None:
    """When the first in order cannot start here: who may, without holding it up."""
    durations = read_durations(session, offer.pool)
    machines = _claiming(session, offer, durations)
    ordered = startable(session, offer.pool, machines, uses, heads)
    now, blocked = within_limits(ordered, uses)
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
    session: Session,
    pool: str,
    machines: Sequence[Machine],
    uses: Mapping[str, TeamUse],
    heads: Sequence[Waiting] | None = None,  # of each team and class the next job, if known
) -> list[Waiting]:
    """In order, of each team and class the next job that these workers and its team's limit allow
    at all."""
    possible = largest(most for machine in machines for most in steps(machine.devices))
    if heads is None or not all(_possible(job, possible, uses) for job in heads):
        conditions = [fits_one_of(possible), *_below_limits(uses)]
        heads = first_of_teams(session, pool, *conditions)
    return in_order(heads, uses)


def _possible(job: Waiting, possible: Sequence[Needs], uses: Mapping[str, TeamUse]) -> bool:
    limit = uses[job.team].max_running_gpus
    within_limit = limit is None or job.needs.gpus <= limit
    return within_limit and any(job.needs.within(most) for most in possible)


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
    slots = [device.slot for device in devices]
    taking = {
        "found": found.id,
        "of_pool": offer.pool,
        "of_team": found.team,
        "of_priority": found.priority,
        "of_gpus": found.needs.gpus,
        "of_memory": found.needs.min_memory_mb,
        "worker": offer.worker,
        "slots": slots,
        "lease_token": token,
        "lease_s": lease.total_seconds(),
    }
    names = [device.name for device in devices]
    told = {"attempt": found.attempts + 1, "slots": slots, "devices": names}
    line = {"of": found.id, "token": token, "kind": "claimed", "by": offer.worker, "data": told}
    row = end_turn(session, (_TAKE, taking), (_TELL, line)).one_or_none()
    return None if row is None else (job_of(row), Claim(row.id, row.attempt, token))


def _taking() -> UpdateBase:
    check_move(JobState.QUEUED, JobState.STARTING)
    return (
        update(_JOBS)
        .where(
            _JOBS.c.id == bindparam("found"),
            _JOBS.c.state == JobState.QUEUED,
            _JOBS.c.pool == bindparam("of_pool"),
            _JOBS.c.team == bindparam("of_team"),
            _JOBS.c.priority == bindparam("of_priority"),
            _JOBS.c.gpus == bindparam("of_gpus"),
            _JOBS.c.min_memory_mb == bindparam("of_memory"),
        )
        .values(
            state=JobState.STARTING,
            attempt=_JOBS.c.attempt + 1,
            worker=bindparam("worker"),
            slots=bindparam("slots"),
            lease_token=bindparam("lease_token"),
            lease_expires_at=database_now(bindparam("lease_s", type_=Double)),
            claimed_at=database_now(),
        )
        .returning(_JOBS)
    )


# Tables and not objects, and built once: the hot path.
_JOBS = Base.metadata.tables["jobs"]
_TAKE = _taking()
_TELL = adding_event(_JOBS.c.lease_token == bindparam("token"))
_CLAIMS_NOTHING = (WorkerState.DRAINING, WorkerState.STOPPED)
