"""Workers, the devices that they have to give, and what a job asks of them.

A slot is one GPU, or a share of a machine's processor that stands for one: every rule of the queue
holds for both. In this package "GPUs" means slots of either kind.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from enum import IntEnum, StrEnum
from functools import cached_property


@dataclass(frozen=True)
class Device:
    """One slot of a worker."""

    slot: int  # 0.. within the worker
    name: str  # "NVIDIA H100 80GB HBM3" or "CPU slot"
    uuid: str  # for CUDA_VISIBLE_DEVICES (GPU-… or MIG-…); "" for a CPU slot
    memory_mb: int  # total memory of the GPU; for a CPU slot its share of the machine's memory

    @cached_property
    def is_mig(self) -> bool:
        """Whether it is an instance of a divided GPU: CUDA gives a process one of them only."""
        return self.uuid.startswith("MIG-")


ONE_CPU_SLOT = Device(0, "CPU slot", "", 0)


class Priority(IntEnum):
    """A job's class: a higher one goes first, and may take the GPUs of a lower one."""

    LOW = -1
    NORMAL = 0
    HIGH = 1

    @property
    def word(self) -> str:
        """As the API says it."""
        return self.name.lower()


PRIORITIES = {priority.word: priority for priority in Priority}


@dataclass(frozen=True)
class Needs:
    """What a job needs of one worker, all of it or nothing."""

    gpus: int = 1
    min_memory_mb: int = 0  # of each

    def within(self, most: Needs) -> bool:
        """Whether they are no more than these."""
        return self.gpus <= most.gpus and self.min_memory_mb <= most.min_memory_mb


@dataclass(frozen=True)
class Placement:
    """Where a job waits, for whom, and what it needs; no part of its spec."""

    pool: str = "default"
    team: str = "default"
    priority: Priority = Priority.NORMAL
    needs: Needs = Needs()


@dataclass(frozen=True)
class PlacementChange:
    """What shall be different about a job's placement; None: as it is."""

    pool: str | None = None
    team: str | None = None
    priority: Priority | None = None
    gpus: int | None = None
    min_memory_mb: int | None = None

    def of(self, old: Placement) -> Placement:
        """The placement with the change."""
        asked = {name: new for name, new in asdict(self).items() if new is not None}
        needs = {name: asked.pop(name) for name in ("gpus", "min_memory_mb") if name in asked}
        return replace(old, **asked, needs=replace(old.needs, **needs))


class WorkerState(StrEnum):
    """What a worker is known to do."""

    ACTIVE = "active"
    DRAINING = "draining"  # finishes what it runs, and claims nothing more
    STOPPED = "stopped"  # said goodbye
    LOST = "lost"  # silent for longer than a lease


LIVING = (WorkerState.ACTIVE, WorkerState.DRAINING)


@dataclass(frozen=True)
class Worker:
    """A worker as it announced itself."""

    name: str  # unique for ever: host and a random end
    host: str
    pid: int
    pool: str
    devices: tuple[Device, ...]
    versions: dict[str, str]  # of pgd, python, torch, mmdet, driver
    state: WorkerState = WorkerState.ACTIVE
    trouble: str = ""  # why some or all of its devices cannot be used now
    unusable: tuple[int, ...] = ()  # their slots
    started_at: datetime | None = None
    seen_at: datetime | None = None


@dataclass(frozen=True)
class Offer:
    """What a worker has free at the moment."""

    worker: str
    pool: str = "default"
    free: tuple[Device, ...] = (ONE_CPU_SLOT,)


def suitable(needs: Needs, devices: Iterable[Device]) -> list[Device]:
    """Those of the devices that have the memory; for several GPUs together no MIG instance."""
    enough = [device for device in devices if device.memory_mb >= needs.min_memory_mb]
    return enough if needs.gpus == 1 else [device for device in enough if not device.is_mig]


def fits(needs: Needs, devices: Iterable[Device]) -> bool:
    """Whether so many of the devices have the memory."""
    return len(suitable(needs, devices)) >= needs.gpus


def chosen(needs: Needs, devices: Iterable[Device]) -> tuple[Device, ...]:
    """The smallest devices that do, so that large ones stay free for who needs them."""
    enough = suitable(needs, devices)

    def size(device: Device) -> tuple[int, bool, int]:
        return device.memory_mb, not device.is_mig, device.slot

    return tuple(sorted(enough, key=size)[: needs.gpus])


def steps(devices: Sequence[Device]) -> list[Needs]:
    """The largest needs that the devices meet: so many GPUs of at least so much memory."""
    counts = Counter(device.memory_mb for device in devices if not device.is_mig)
    instances = [device.memory_mb for device in devices if device.is_mig]
    found = [Needs(1, max(instances))] if instances else []
    total = 0
    for memory in sorted(counts, reverse=True):
        total += counts[memory]
        found.append(Needs(total, memory))
    return found


def largest(needs: Iterable[Needs]) -> list[Needs]:
    """Those that lie within no other: what meets them meets all."""
    found: list[Needs] = []
    for each in sorted(needs, key=lambda needs: (-needs.gpus, -needs.min_memory_mb)):
        if not found or each.min_memory_mb > found[-1].min_memory_mb:
            found.append(each)
    return found
