"""Who is next: pure functions over what the database knows of a pool.

The order is: priority class; then the team that has had least of its share; then age. A team's
share is its GPU time, recent time counting more, divided by its weight:

    share = (used * 2^(-age / half_life) + running_gpus * LOOK_AHEAD_S) / weight

The first job that cannot start anywhere reserves the worker on which it can start soonest. On that
worker a job behind it may only start where it does not delay it: on GPUs that the first one leaves
over, or when it is expected to end in time (backfill). So a large job is not starved by small ones.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cached_property
from typing import NamedTuple

from pgd_core.jobs.machine import Device, Needs, Priority, fits, steps, suitable

# A running GPU counts as so much used time: of teams that have used the same, the one that runs
# less is next. Small, so that it breaks ties and does not outweigh what was really used.
LOOK_AHEAD_S = 60.0


@dataclass(frozen=True)
class SchedulingRules:
    """What an operator decides about the order."""

    half_life: timedelta = timedelta(hours=24)  # after which used GPU time counts half
    preempt: bool = True  # whether a higher class may take the GPUs of a lower one
    low_waits: timedelta = timedelta(hours=24)  # after which a job of class low becomes normal


@dataclass(frozen=True)
class TeamUse:
    """A team's right to GPUs and what it has had of them."""

    name: str
    weight: float
    used_gpu_s: float  # decayed, what runs now included
    running_gpus: int
    max_running_gpus: int | None = None

    @property
    def share(self) -> float:
        """What it has had, by its weight; less goes first."""
        return share_of(self.used_gpu_s, self.running_gpus, self.weight)

    def allows(self, gpus: int) -> bool:
        """Whether its limit lets so many more run."""
        return self.max_running_gpus is None or self.running_gpus + gpus <= self.max_running_gpus


@dataclass(frozen=True)
class Waiting:
    """A queued job, as far as the order is concerned."""

    id: str  # UUIDv7: rises with age
    team: str
    priority: Priority
    needs: Needs
    kind: str = ""
    name: str = field(default="", compare=False)  # for people
    attempts: int = 0  # that it had


class Running(NamedTuple):  # and not a dataclass: a decision may look at a thousand of them
    """A job that holds devices of a worker."""

    id: str
    team: str
    priority: Priority
    worker: str
    slots: tuple[int, ...]
    claimed_at: datetime
    ends_in_s: float | None  # expected; None: nobody knows
    stopping: bool = False  # asked to stop: its devices come free soon
    kind: str = ""  # for people, and so is its name
    name: str = ""


@dataclass(frozen=True)
class Machine:
    """A living worker and who holds its devices."""

    name: str
    devices: tuple[Device, ...]  # that can be used
    running: tuple[Running, ...] = ()
    draining: bool = False
    out_of_use: tuple[Device, ...] = ()  # more devices, which nothing is put on at the moment

    @cached_property
    def free(self) -> tuple[Device, ...]:
        """Devices that nobody holds; none of a worker that drains."""
        return () if self.draining else self.without(self.running)

    def without(self, running: Iterable[Running]) -> tuple[Device, ...]:
        """Devices that none of these jobs holds."""
        held = {slot for job in running for slot in job.slots}
        return tuple(device for device in self.devices if device.slot not in held)


@dataclass(frozen=True)
class Reservation:
    """The worker that is kept for a job which cannot start yet."""

    job: str
    worker: str
    needs: Needs
    starts_in_s: float | None  # expected; None: nobody knows
    spare_gpus: int  # of those that it could use and that are free by then, what it leaves over

    def room(self, free: Sequence[Device]) -> list[Needs]:
        """The largest needs that the worker's free devices meet and that never delay the job.

        Devices that are no good to it are everybody's. (A claim takes the smallest devices that
        do, so these go first, but for a MIG instance that is larger than a GPU.)
        """
        good = suitable(self.needs, free)
        others = [device for device in free if device not in good]
        least = min((device.memory_mb for device in good), default=_NEVER)
        instances = [other for other in others if other.is_mig and other.memory_mb <= least]
        whole = steps([other for other in others if not other.is_mig])
        largest = max((device.memory_mb for device in free), default=0)
        return [
            Needs(self.spare_gpus, largest),
            *(Needs(most.gpus + self.spare_gpus, most.min_memory_mb) for most in whole),
            *steps(instances),
        ]

    def in_time(self, lasts_s: float | None) -> bool:
        """Whether what lasts so long ends before the job can start."""
        return self.starts_in_s is not None and lasts_s is not None and lasts_s <= self.starts_in_s


def decayed(used_gpu_s: float, age: timedelta, half_life: timedelta) -> float:
    """Used GPU time as it counts after a while."""
    halvings = max(age, timedelta(0)) / half_life
    return used_gpu_s * math.exp2(-halvings)


def share_of(used_gpu_s: float, running_gpus: int, weight: float) -> float:
    """What a team has had, by its weight."""
    return (used_gpu_s + running_gpus * LOOK_AHEAD_S) / weight


def in_order(waiting: Iterable[Waiting], teams: Mapping[str, TeamUse]) -> list[Waiting]:
    """Each team's next jobs, by class, share and age."""
    return sorted(waiting, key=lambda job: (-job.priority, teams[job.team].share, job.id))


def within_limits(
    ordered: Iterable[Waiting], teams: Mapping[str, TeamUse]
) -> tuple[list[Waiting], dict[str, Priority]]:
    """Those that their team's limit lets start now; and the teams at it, with the class of the job
    that waits for it: the team's own smaller jobs of that class or lower shall not overtake it."""
    now, blocked = [], dict[str, Priority]()
    for job in ordered:
        if job.team in blocked:
            continue
        if teams[job.team].allows(job.needs.gpus):
            now.append(job)
        else:
            blocked[job.team] = job.priority
    return now, blocked


def reservation(job: Waiting, machines: Sequence[Machine]) -> Reservation | None:
    """Where the job will start soonest; None where no living worker is large enough.

    Where nobody knows, the worker on which most is free already: as that one is kept for the job,
    it stays the choice until the job starts.
    """
    options = {m.name: found for m in machines if (found := _on(job, m)) is not None}
    ready = {m.name: len(suitable(job.needs, m.free)) for m in machines}

    def soonest(found: Reservation) -> tuple[float, int, int, str]:
        wait_s = _NEVER if found.starts_in_s is None else found.starts_in_s
        return wait_s, -ready[found.worker], -found.spare_gpus, found.worker

    return min(options.values(), key=soonest, default=None)


def _on(job: Waiting, machine: Machine) -> Reservation | None:
    """When and with what to spare the job starts on the machine, as running jobs end."""
    good = {device.slot for device in suitable(job.needs, machine.devices)}
    if machine.draining or len(good) < job.needs.gpus:
        return None
    free = len(good.difference(*(running.slots for running in machine.running)))
    wait_s = 0.0
    for ending in sorted(machine.running, key=_end):
        if free >= job.needs.gpus:
            break
        wait_s = _end(ending)
        free += len(good.intersection(ending.slots))
    if wait_s == _NEVER:  # whatever is free by now may be what it needs
        return Reservation(job.id, machine.name, job.needs, None, 0)
    return Reservation(job.id, machine.name, job.needs, wait_s, free - job.needs.gpus)


_NEVER = float("inf")


def _end(job: Running) -> float:
    return 0.0 if job.stopping else _NEVER if job.ends_in_s is None else job.ends_in_s


def victims(job: Waiting, machines: Sequence[Machine]) -> tuple[Running, ...]:
    """The jobs to stop so that `job` can start: of lower class, on one worker, the least loss.

    None when it can start anyway, or will once those stop that were asked to, or never.
    """
    if any(fits(job.needs, _soon_free(machine)) for machine in machines):
        return ()
    options = [found for machine in machines if (found := _to_stop(job, machine)) is not None]
    return min(options, key=_loss, default=())


def _soon_free(machine: Machine) -> tuple[Device, ...]:
    staying = [running for running in machine.running if not running.stopping]
    return () if machine.draining else machine.without(staying)


def _to_stop(job: Waiting, machine: Machine) -> tuple[Running, ...] | None:
    """The lowest class first, and of it those that started last, as they lose least."""
    if machine.draining:
        return None
    staying = {running for running in machine.running if not running.stopping}
    lower = sorted(
        (running for running in staying if running.priority < job.priority),
        key=lambda running: (-running.priority, running.claimed_at),
    )
    stopped: list[Running] = []
    while not fits(job.needs, machine.without(staying - set(stopped))):
        if not lower:
            return None
        stopped.append(lower.pop())
    for spared in reversed(stopped):  # a large one that was stopped last may do without the others
        fewer = [running for running in stopped if running is not spared]
        if fits(job.needs, machine.without(staying - set(fewer))):
            stopped = fewer
    return tuple(stopped)


def _loss(stopped: tuple[Running, ...]) -> tuple[int, int, float]:
    highest = max(running.priority for running in stopped)
    longest = min(running.claimed_at for running in stopped)
    return highest, sum(len(running.slots) for running in stopped), -longest.timestamp()
