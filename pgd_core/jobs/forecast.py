"""The whole queue of a pool as it will be served: position, reason for waiting, estimated start.

The queue is played through by the rules of `scheduling`, with each job as long as jobs of its kind
were lately. It is an estimate: jobs that are still to be submitted are not in it.
"""

from __future__ import annotations

import heapq
from collections import defaultdict, deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum

from pgd_core.jobs.machine import Device, Needs, fits
from pgd_core.jobs.scheduling import Machine, TeamUse, Waiting

MOST_STARTS = 500  # estimated; a start further down the queue would be a guess


class WaitReason(StrEnum):
    """Why a job has not started."""

    NEXT = "next"  # a worker is about to take it
    NO_WORKER = "no_worker"  # no living worker in the pool
    TOO_LARGE = "too_large"  # no worker in the pool has so many GPUs of that memory
    TEAM_LIMIT = "team_limit"  # its team runs as much as it may
    POOL_FULL = "pool_full"  # every GPU that it could use is taken
    RESERVED = "reserved"  # GPUs are free, kept for a larger job before it
    WORKER_TROUBLE = "worker_trouble"  # the pool's workers take nothing: full disk, drained
    PAUSED = "paused"


@dataclass(frozen=True)
class Pool:
    """All that the order of a pool depends on, at one instant."""

    name: str
    teams: Mapping[str, TeamUse]
    machines: Sequence[Machine]
    waiting: Sequence[Waiting]  # by class and age
    durations: Mapping[str, float]  # of kinds of jobs, seconds
    troubles: Mapping[str, str] = field(default_factory=dict)  # of workers that claim nothing

    @property
    def claiming(self) -> list[Machine]:
        """The workers that take jobs."""
        return [m for m in self.machines if not m.draining and m.name not in self.troubles]


@dataclass(frozen=True)
class Place:
    """Where a job stands."""

    job: str
    position: int  # 1 is next
    reason: WaitReason
    message: str
    starts_in_s: float | None  # None: it cannot be said


def forecast(pool: Pool) -> list[Place]:
    """Every waiting job of the pool, next first."""
    starts = _Starts(pool)
    free_now = {machine.name: machine.free for machine in pool.claiming}
    blocked_before = False
    places = []
    for position, job in enumerate(_served(pool), 1):
        starts_in_s = starts.of(job) if position <= MOST_STARTS else None
        reason = _reason(job, pool, free_now, blocked_before)
        blocked_before |= reason is WaitReason.POOL_FULL
        if reason is WaitReason.NEXT:
            _take(job.needs, free_now)
        message = _in_words(reason, job, pool)
        places.append(Place(job.id, position, reason, message, starts_in_s))
    return places


def _served(pool: Pool) -> Iterable[Waiting]:
    """The jobs in the order in which they will be taken: each one taken adds to its team's use."""
    queues: dict[str, deque[Waiting]] = defaultdict(deque)
    for job in pool.waiting:
        queues[job.team].append(job)
    teams = dict(pool.teams)
    heads = [(*_rank(queue[0], teams), name) for name, queue in queues.items()]
    heapq.heapify(heads)
    while heads:
        *_, name = heapq.heappop(heads)
        job = queues[name].popleft()
        yield job
        use = teams[name]
        lasts_s = pool.durations.get(job.kind, 0.0) * job.needs.gpus
        teams[name] = replace(
            use,
            used_gpu_s=use.used_gpu_s + lasts_s,
            running_gpus=use.running_gpus + job.needs.gpus,
        )
        if queues[name]:
            heapq.heappush(heads, (*_rank(queues[name][0], teams), name))


def _rank(job: Waiting, teams: Mapping[str, TeamUse]) -> tuple[int, float, str]:
    return -job.priority, teams[job.team].share, job.id


def _reason(
    job: Waiting, pool: Pool, free_now: Mapping[str, tuple[Device, ...]], blocked_before: bool
) -> WaitReason:
    claiming = pool.claiming
    if not pool.machines:
        return WaitReason.NO_WORKER
    if not any(fits(job.needs, machine.devices) for machine in pool.machines):
        return WaitReason.TOO_LARGE
    if not any(fits(job.needs, machine.devices) for machine in claiming):
        return WaitReason.WORKER_TROUBLE
    if not pool.teams[job.team].allows(job.needs.gpus):
        return WaitReason.TEAM_LIMIT
    if not any(fits(job.needs, devices) for devices in free_now.values()):
        return WaitReason.POOL_FULL
    return WaitReason.RESERVED if blocked_before else WaitReason.NEXT


def _in_words(reason: WaitReason, job: Waiting, pool: Pool) -> str:
    gpus = f"{job.needs.gpus} GPU{'s' if job.needs.gpus > 1 else ''}"
    if job.needs.min_memory_mb:
        gpus += f" of {job.needs.min_memory_mb} MiB"
    limit = pool.teams[job.team].max_running_gpus
    return {
        WaitReason.NEXT: "a worker is about to take it",
        WaitReason.NO_WORKER: f"no worker serves pool {pool.name!r}; start one",
        WaitReason.TOO_LARGE: f"no worker of pool {pool.name!r} has {gpus}; ask for less, or move "
        "the job to another pool",
        WaitReason.WORKER_TROUBLE: _troubles(pool),
        WaitReason.TEAM_LIMIT: f"team {job.team!r} may run {limit} GPUs at once",
        WaitReason.POOL_FULL: f"no worker of pool {pool.name!r} has {gpus} free",
        WaitReason.RESERVED: "free GPUs are kept for a larger job before it",
        WaitReason.PAUSED: "paused; resume it",
    }[reason]


def _troubles(pool: Pool) -> str:
    draining = [f"{machine.name} is draining" for machine in pool.machines if machine.draining]
    told = [f"{name}: {trouble}" for name, trouble in sorted(pool.troubles.items())]
    return "; ".join([*draining, *told])


def _take(needs: Needs, free: dict[str, tuple[Device, ...]]) -> None:
    """Remove the devices that the job is about to get, on the first worker that has them."""
    for name, devices in free.items():
        if fits(needs, devices):
            enough = [device for device in devices if device.memory_mb >= needs.min_memory_mb]
            gone = set(enough[: needs.gpus])
            free[name] = tuple(device for device in devices if device not in gone)
            return


class _Starts:
    """When each device comes free, as jobs are laid on them one after another."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._free_in_s: dict[str, dict[int, float | None]] = {}
        for machine in pool.claiming:
            ends: dict[int, float | None] = {device.slot: 0.0 for device in machine.devices}
            for job in machine.running:
                ends.update(dict.fromkeys(job.slots, 0.0 if job.stopping else job.ends_in_s))
            self._free_in_s[machine.name] = ends

    def of(self, job: Waiting) -> float | None:
        """The job's start in seconds from now; None when it cannot be said."""
        options = [
            (ends[needed - 1], machine.name, slots[:needed])
            for machine in self._pool.claiming
            for slots, ends in [self._suitable(job.needs, machine)]
            if len(ends) >= (needed := job.needs.gpus)
        ]
        if not options:
            return None
        start_s, name, slots = min(options)
        lasts_s = self._pool.durations.get(job.kind)
        end_s = None if lasts_s is None else start_s + lasts_s
        self._free_in_s[name].update(dict.fromkeys(slots, end_s))
        return start_s

    def _suitable(self, needs: Needs, machine: Machine) -> tuple[list[int], list[float]]:
        """Slots with the memory whose end is known, and when they come free, soonest first."""
        free = self._free_in_s[machine.name]
        found = sorted(
            (ends_in_s, device.slot)
            for device in machine.devices
            if device.memory_mb >= needs.min_memory_mb
            and (ends_in_s := free[device.slot]) is not None
        )
        return [slot for _, slot in found], [ends_in_s for ends_in_s, _ in found]
