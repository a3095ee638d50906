"""The queue, workers and teams as the API shows them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, Literal, Self

from pydantic import BaseModel, Field

from api.places import Standing
from api.schemas import Series, View, moment
from pgd_core.jobs.forecast import WaitReason
from pgd_core.jobs.machine import Device, Worker, WorkerState
from pgd_core.jobs.scheduling import Running, TeamUse

Class = Literal["low", "normal", "high"]


class GpuCounts(BaseModel):
    """The GPUs, or processor slots, of a pool's living workers."""

    total: int
    busy: int
    free: int = Field(description="Without those of workers that drain or are in trouble.")


class WaitingView(BaseModel):
    """A job that waits; of another team's only its place."""

    id: str | None = Field(description="null: another team's.")
    name: str | None = Field(description="null: another team's.")
    kind: str
    team: str
    priority: Class
    gpus: int
    min_memory_mb: int
    position: int = Field(description="1 is next.")
    reason: WaitReason
    message: str = Field(description="The reason in words.")
    starts_at: datetime | None = Field(description="Estimated; null: it cannot be said.")


class RunningView(BaseModel):
    """A job that holds devices; of another team's only what it holds, and until when."""

    id: str | None = Field(description="null: another team's.")
    name: str | None = Field(description="null: another team's.")
    kind: str
    team: str
    priority: Class
    worker: str
    slots: tuple[int, ...]
    started_at: datetime = Field(description="This attempt.")
    ends_at: datetime | None = Field(description="Estimated; null: it cannot be said.")
    stopping: bool = Field(description="It was asked to stop.")


class ShareView(BaseModel):
    """How a team stands, over all pools: the one with the least share for its weight is next."""

    name: str
    weight: float
    used_gpu_s: float = Field(description="GPU time that counts: recent time counts more.")
    used_share: float = Field(description="Of all that counts, 0 to 1.")
    running_gpus: int
    max_running_gpus: int | None
    max_queued_jobs: int | None


class PoolView(BaseModel):
    """A pool: who serves it, what runs, what waits."""

    name: str
    workers: int = Field(description="Living ones.")
    gpus: GpuCounts
    running: list[RunningView]
    waiting_jobs: int = Field(description="All that wait, on whatever piece.")
    waiting: Series[WaitingView] = Field(description="In the order in which they will start.")
    teams: list[ShareView]

    @classmethod
    def of(
        cls,
        standing: Standing,
        queued_limits: Mapping[str, int | None],
        after: int,
        limit: int,
        seen: Callable[[str], bool],
    ) -> Self:
        """The pool with `limit` of its waiting jobs, those behind position `after`.

        Jobs of teams that are not `seen` have neither id nor name.
        """
        pool = standing.pool
        running = [job for machine in pool.machines for job in machine.running]
        return cls(
            name=pool.name,
            workers=len(pool.machines),
            gpus=GpuCounts(
                total=sum(len(m.devices) + len(m.out_of_use) for m in pool.machines),
                busy=sum(len(job.slots) for job in running),
                free=sum(len(machine.free) for machine in pool.claiming),
            ),
            running=[_running(job, standing.at, seen(job.team)) for job in running],
            waiting_jobs=len(standing.places),
            waiting=_waiting(standing, after, limit, seen),
            teams=_shares(pool.teams, queued_limits),
        )


class QueueView(BaseModel):
    """The queue, at most a second old."""

    pools: list[PoolView]


class DeviceView(BaseModel):
    """A GPU of a worker, or a slot of its processor."""

    slot: int
    name: str
    uuid: str = Field(description="Empty for a processor slot.")
    memory_mb: int
    busy: bool = Field(description="A job holds it.")
    job: str | None = Field(description="That holds it; null for another team's.")


class WorkerView(BaseModel):
    """A worker as it announced itself, and what it does."""

    name: str
    host: str
    pid: int
    pool: str
    state: WorkerState
    trouble: str = Field(description="Why it takes nothing, or not on all of its devices.")
    devices: list[DeviceView]
    versions: dict[str, Any]
    started_at: datetime | None
    seen_at: datetime | None

    @classmethod
    def of(cls, stored: Worker, jobs_by_slot: Mapping[int, str | None]) -> Self:
        """The worker; `jobs_by_slot` hold its devices."""
        devices = [_device(device, jobs_by_slot) for device in stored.devices]
        return cls.model_validate(vars(stored) | {"devices": devices})


class TeamView(View):
    """A team: its weight and limits."""

    name: str
    weight: float
    max_running_gpus: int | None = Field(description="At once; null: no limit.")
    max_queued_jobs: int | None = Field(description="Waiting or paused; null: no limit.")
    created_at: datetime


def _waiting(
    standing: Standing, after: int, limit: int, seen: Callable[[str], bool]
) -> Series[WaitingView]:
    jobs = {job.id: job for job in standing.pool.waiting}
    items = [
        WaitingView(
            id=place.job if seen((job := jobs[place.job]).team) else None,
            name=job.name if seen(job.team) else None,
            kind=job.kind,
            team=job.team,
            priority=job.priority.word,
            gpus=job.needs.gpus,
            min_memory_mb=job.needs.min_memory_mb,
            position=place.position,
            reason=place.reason,
            message=place.message,
            starts_at=moment(standing.at, place.starts_in_s),
        )
        for place in standing.places[after : after + limit]
    ]
    has_more = len(standing.places) > after + limit
    return Series(items=items, has_more=has_more, next_after=after + len(items))


def _running(job: Running, at: datetime, seen: bool) -> RunningView:
    return RunningView(
        id=job.id if seen else None,
        name=job.name if seen else None,
        kind=job.kind,
        team=job.team,
        priority=job.priority.word,
        worker=job.worker,
        slots=job.slots,
        started_at=job.claimed_at,
        ends_at=moment(at, job.ends_in_s),
        stopping=job.stopping,
    )


def _shares(
    uses: Mapping[str, TeamUse], queued_limits: Mapping[str, int | None]
) -> list[ShareView]:
    all_used_gpu_s = sum(use.used_gpu_s for use in uses.values())
    return [
        ShareView(
            name=use.name,
            weight=use.weight,
            used_gpu_s=use.used_gpu_s,
            used_share=use.used_gpu_s / all_used_gpu_s if all_used_gpu_s else 0.0,
            running_gpus=use.running_gpus,
            max_running_gpus=use.max_running_gpus,
            max_queued_jobs=queued_limits.get(use.name),
        )
        for use in sorted(uses.values(), key=lambda use: use.name)
    ]


def _device(device: Device, jobs_by_slot: Mapping[int, str | None]) -> DeviceView:
    busy = device.slot in jobs_by_slot
    return DeviceView(**vars(device), busy=busy, job=jobs_by_slot.get(device.slot))
