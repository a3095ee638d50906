"""Small pools for the tests of the order, and random ones."""

from __future__ import annotations

import random
from collections.abc import Collection, Sequence
from datetime import UTC, datetime, timedelta

from pgd_core.jobs.machine import Device, Needs, Priority
from pgd_core.jobs.scheduling import Machine, Running, TeamUse, Waiting

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


def waits(
    id: str, gpus: int = 1, memory: int = 0, team: str = "a", priority: int = 0, kind: str = "train"
) -> Waiting:
    return Waiting(id, team, Priority(priority), Needs(gpus, memory), kind)


def runs(
    id: str,
    worker: str,
    slots: Sequence[int],
    ends_in_s: float | None = None,
    *,
    priority: int = 0,
    minutes: float = 0.0,
    stopping: bool = False,
    team: str = "a",
) -> Running:
    """A job that was claimed so many minutes ago."""
    claimed_at = NOON - timedelta(minutes=minutes)
    return Running(
        id, team, Priority(priority), worker, tuple(slots), claimed_at, ends_in_s, stopping
    )


def machine(
    name: str,
    memories: Sequence[int] | int,
    *running: Running,
    draining: bool = False,
    mig: Collection[int] = (),
) -> Machine:
    """A worker with a GPU for each memory in MiB, or so many GPUs of 80; some are MIG instances."""
    of = [80] * memories if isinstance(memories, int) else memories
    uuids = [f"{'MIG' if slot in mig else 'GPU'}-{name}-{slot}" for slot in range(len(of))]
    devices = tuple(Device(slot, "GPU", uuids[slot], memory) for slot, memory in enumerate(of))
    return Machine(name, devices, running, draining)


def use(name: str = "a", used=0.0, running=0, weight=1.0, limit: int | None = None) -> TeamUse:
    return TeamUse(name, weight, used, running, limit)


def any_machine(rng: random.Random, name: str) -> Machine:
    """Devices of mixed memory, some of them held by jobs of any class, end and size."""
    memories = [rng.choice([24, 48, 80]) for _ in range(rng.randint(1, 6))]
    mig = [slot for slot in range(len(memories)) if rng.random() < 0.2]
    slots = list(range(len(memories)))
    rng.shuffle(slots)
    running = []
    while slots and rng.random() < 0.8:
        held = [slots.pop() for _ in range(min(len(slots), rng.randint(1, 3)))]
        running.append(
            runs(
                f"{name}-{len(running)}",
                name,
                held,
                rng.choice([None, rng.uniform(0, 100), rng.uniform(0, 100)]),
                priority=rng.choice([-1, 0, 1]),
                minutes=rng.uniform(0, 500),
                stopping=rng.random() < 0.1,
            )
        )
    return machine(name, memories, *running, draining=rng.random() < 0.1, mig=mig)


def any_job(rng: random.Random, id: str = "job") -> Waiting:
    return waits(
        id,
        rng.randint(1, 4),
        rng.choice([0, 24, 48, 80]),
        rng.choice("abc"),
        rng.choice([-1, 0, 1]),
        rng.choice(["train", "distill"]),
    )
