"""The whole queue of a pool as it will be served: position, reason for waiting, estimated start.

The queue is played through by the rules of `scheduling`, with each job as long as jobs of its kind
were lately. It is an estimate: jobs that are still to be submitted are not in it.
"""

from __future__ import annotations

import heapq
from collections import defaultdict, deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from pgd_core.jobs.machine import Needs, Priority, chosen, fits
from pgd_core.jobs.scheduling import (
    Machine,
    Reservation,
    TeamUse,
    Waiting,
    reservation,
    share_of,
)
from pgd_core.jobs.starts import Starts

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
    troubles: Mapping[str, str] = field(default_factory=dict)  # of workers, in words

    @property
    def claiming(self) -> list[Machine]:
        """The workers that take jobs."""
        return [machine for machine in self.machines if machine.devices and not machine.draining]


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
    outlook = _Outlook(pool)
    running = [job for machine in pool.machines for job in machine.running]
    starts = Starts(pool.claiming, running, pool.teams, pool.durations)
    places = []
    for position, job in enumerate(_served(pool), 1):
        starts_in_s = starts.of(job) if position <= MOST_STARTS else None
        reason, message = outlook.of(job)
        places.append(Place(job.id, position, reason, message, starts_in_s))
    return places


def _served(pool: Pool) -> Iterable[Waiting]:
    """The jobs in the order in which they will be taken: each one taken adds to its team's use."""
    queues: dict[str, deque[Waiting]] = defaultdict(deque)
    for job in pool.waiting:
        queues[job.team].append(job)
    teams = {name: pool.teams[name] for name in queues}
    added = dict.fromkeys(queues, (0.0, 0))  # GPU time, running GPUs

    def rank(name: str) -> tuple[int, float, str, str]:
        gpu_s, gpus = added[name]
        use, job = teams[name], queues[name][0]
        share = share_of(use.used_gpu_s + gpu_s, use.running_gpus + gpus, use.weight)
        return -job.priority, share, job.id, name

    heads = [rank(name) for name in queues]
    heapq.heapify(heads)
    while heads:
        *_, name = heads[0]
        job = queues[name].popleft()
        yield job
        gpu_s, gpus = added[name]
        lasts_s = pool.durations.get(job.kind, 0.0)
        added[name] = gpu_s + lasts_s * job.needs.gpus, gpus + job.needs.gpus
        if queues[name]:
            heapq.heapreplace(heads, rank(name))
        else:
            heapq.heappop(heads)


class _Outlook:
    """Why each job waits, asked in the order in which they will be taken."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._claiming = pool.claiming
        self._free = {machine.name: machine.free for machine in self._claiming if machine.free}
        self._runs = {name: use.running_gpus for name, use in pool.teams.items()}
        self._blocked: dict[str, Priority] = {}  # teams at their limit
        self._reserved: Reservation | None = None
        self._by_needs: dict[Needs, WaitReason | None] = {}
        self._by_job: dict[tuple[Needs, str], str | WaitReason] = {}
        self._words: dict[tuple[WaitReason, Needs, str], str] = {}

    def of(self, job: Waiting) -> tuple[WaitReason, str]:
        """The reason, and the same in words."""
        reason = self._of_needs(job.needs) or self._of_limit(job) or self._of_devices(job)
        key = reason, job.needs, job.team
        if key not in self._words:
            self._words[key] = _in_words(reason, job, self._pool)
        return reason, self._words[key]

    def _of_needs(self, needs: Needs) -> WaitReason | None:
        """What is the matter whoever asks for so much."""
        if needs not in self._by_needs:
            self._by_needs[needs] = self._matter(needs)
        return self._by_needs[needs]

    def _matter(self, needs: Needs) -> WaitReason | None:
        if not self._pool.machines:
            return WaitReason.NO_WORKER
        if not any(fits(needs, m.devices + m.out_of_use) for m in self._pool.machines):
            return WaitReason.TOO_LARGE
        if not any(fits(needs, machine.devices) for machine in self._claiming):
            return WaitReason.WORKER_TROUBLE
        return None

    def _of_limit(self, job: Waiting) -> WaitReason | None:
        limit = self._pool.teams[job.team].max_running_gpus
        if limit is None:
            return None
        behind = job.team in self._blocked and job.priority <= self._blocked[job.team]
        if not behind and self._runs[job.team] + job.needs.gpus <= limit:
            return None
        self._blocked.setdefault(job.team, job.priority)
        return WaitReason.TEAM_LIMIT

    def _of_devices(self, job: Waiting) -> WaitReason:
        key = job.needs, job.kind
        if key not in self._by_job:
            self._by_job[key] = self._find(job)
        found = self._by_job[key]
        if found is WaitReason.POOL_FULL and self._reserved is None:
            self._reserved = reservation(job, self._claiming)
            self._by_job.clear()
        if isinstance(found, WaitReason):
            return found
        self._take(job, found)
        return WaitReason.NEXT

    def _find(self, job: Waiting) -> str | WaitReason:
        """The worker that is about to take it, or why none is."""
        able = [name for name, free in self._free.items() if fits(job.needs, free)]
        if not able:
            return WaitReason.POOL_FULL
        return next((name for name in able if self._lets(name, job)), WaitReason.RESERVED)

    def _lets(self, worker: str, job: Waiting) -> bool:
        """Whether the job that the worker is kept for, if it is, lets this one go before it."""
        if self._reserved is None or self._reserved.worker != worker:
            return True
        room = self._reserved.room(self._free[worker])
        short = self._reserved.in_time(self._pool.durations.get(job.kind))
        return short or any(job.needs.within(most) for most in room)

    def _take(self, job: Waiting, worker: str) -> None:
        gone = chosen(job.needs, self._free[worker])
        left = tuple(device for device in self._free[worker] if device not in gone)
        self._free[worker] = left
        if not left:
            del self._free[worker]
        self._runs[job.team] += job.needs.gpus
        self._by_job.clear()


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
