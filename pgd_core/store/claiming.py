"""Claiming: the next job for what a worker has free, by the rules of `jobs.scheduling`.

Claims take turns (one lock for all of them), so that limits, shares and reservations are exact, not
nearly so. A turn is a few looks into indexes, whatever the length of the queue.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from datetime import timedelta

from sqlalchemy import select, text
from sqlalchemy.orm import Session
from sqlalchemy.sql.elements import ColumnElement

from pgd_core.errors import IllegalMove
from pgd_core.jobs.job import Claim, Job, JobState
from pgd_core.jobs.machine import Device, Offer, WorkerState, chosen, fits, steps
from pgd_core.jobs.scheduling import (
    Machine,
    Reservation,
    SchedulingRules,
    TeamUse,
    Waiting,
    in_order,
    reservation,
)
from pgd_core.store.moves import add_event, locked_job, move
from pgd_core.store.pools import (
    first_of_teams,
    fits_one_of,
    of_other_teams,
    read_durations,
    read_machines,
    small_or_of_kind,
    within_limit,
)
from pgd_core.store.tables import WorkerRow
from pgd_core.store.teams import team_uses
from pgd_core.store.times import database_now

_LOCK = 7_407_316  # any number, the same in every process


def claim_next(
    session: Session, offer: Offer, lease: timedelta, rules: SchedulingRules
) -> tuple[Job, Claim] | None:
    """The next job that the offer serves, taken; None when there is none."""
    take_turn(session)
    drained = select(WorkerRow.state).where(WorkerRow.name == offer.worker)
    if session.scalar(drained) in (WorkerState.DRAINING, WorkerState.STOPPED) or not offer.free:
        return None
    while (found := _next(session, offer, rules)) is not None:
        try:
            return _take(session, found, offer, lease)
        except IllegalMove:  # cancelled or paused just now
            continue
    return None


def take_turn(session: Session) -> None:
    """Wait for all other decisions about the order; SQLite lets one writer in at a time anyway."""
    if session.get_bind().dialect.name == "postgresql":
        session.execute(text(f"SELECT pg_advisory_xact_lock({_LOCK})"))


def _next(session: Session, offer: Offer, rules: SchedulingRules) -> Waiting | None:
    uses = team_uses(session, rules.half_life)
    heads = in_order(first_of_teams(session, offer.pool), uses)
    if not heads:
        return None
    first = heads[0]
    if uses[first.team].allows(first.needs.gpus) and fits(first.needs, offer.free):
        return first
    return _next_around(session, offer, uses)


def _next_around(session: Session, offer: Offer, uses: Mapping[str, TeamUse]) -> Waiting | None:
    """When the first in order cannot start here: who may, without holding it up."""
    durations = read_durations(session, offer.pool)
    machines = _others(session, offer, durations)
    possible = [most for machine in machines for most in steps(machine.devices)]
    heads = in_order(
        first_of_teams(session, offer.pool, fits_one_of(possible), *_below_limits(uses)), uses
    )
    at_limit: set[str] = set()
    reserved: Reservation | None = None
    for job in heads:
        if job.team in at_limit or not uses[job.team].allows(job.needs.gpus):
            at_limit.add(job.team)  # its own smaller jobs shall not overtake it for ever
        elif fits(job.needs, offer.free):
            return job
        elif not any(fits(job.needs, machine.free) for machine in machines):
            reserved = reservation(job, machines)
            break
    here = fits_one_of(steps(offer.free))
    conditions = [here, of_other_teams(at_limit), *_below_limits(uses, running=True)]
    if reserved is not None and reserved.worker == offer.worker:
        conditions.append(small_or_of_kind(reserved.spare_gpus, _in_time(reserved, durations)))
    return next(iter(in_order(first_of_teams(session, offer.pool, *conditions), uses)), None)


def _others(session: Session, offer: Offer, durations: Mapping[str, float]) -> Sequence[Machine]:
    """The workers that claim, the one that asks with what it says is free among them."""
    machines, troubles = read_machines(session, offer.pool, durations)
    claiming = [m for m in machines if not m.draining and m.name not in troubles]
    if any(machine.name == offer.worker for machine in claiming):
        return claiming
    return [*claiming, Machine(offer.worker, tuple(offer.free))]


def _below_limits(uses: Mapping[str, TeamUse], running: bool = False) -> list[ColumnElement[bool]]:
    return [
        within_limit(use.name, use.max_running_gpus - (use.running_gpus if running else 0))
        for use in uses.values()
        if use.max_running_gpus is not None
    ]


def _in_time(reserved: Reservation, durations: Mapping[str, float]) -> list[str]:
    """The kinds of jobs that are expected to end before the reservation begins."""
    if reserved.starts_in_s is None:
        return []
    return [kind for kind, lasts_s in durations.items() if lasts_s <= reserved.starts_in_s]


def _take(session: Session, found: Waiting, offer: Offer, lease: timedelta) -> tuple[Job, Claim]:
    devices: tuple[Device, ...] = chosen(found.needs, offer.free)
    token = secrets.token_hex(16)
    job = locked_job(session, found.id)
    job = move(
        session,
        job,
        JobState.STARTING,
        attempt=job.attempt + 1,
        worker=offer.worker,
        slots=[device.slot for device in devices],
        lease_token=token,
        lease_expires_at=database_now(lease),
        claimed_at=database_now(),
    )
    told = {"attempt": job.attempt, "slots": job.slots, "devices": [d.name for d in devices]}
    add_event(session, job.id, "claimed", told, by=offer.worker)
    return job, Claim(job.id, job.attempt, token)
