"""Warnings about where a job would wait: the pool's GPUs, and the team's limits."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from pgd_core.jobs.advice import Advice, Asked, runs_of
from pgd_core.jobs.machine import Device, fits
from pgd_core.jobs.memory import pictures_at_once
from pgd_core.jobs.teams import Team


@dataclass(frozen=True)
class Surroundings:
    """What a job's placement meets."""

    machines: Sequence[tuple[Device, ...]]  # of workers that serve the pool, or did of late
    team: Team
    team_waiting: int  # its jobs that wait or are paused
    team_running_gpus: int


def placement_advice(asked: Asked, around: Surroundings, memory_mb: int | None) -> Iterator[Advice]:
    """About memory, number of GPUs and limits."""
    yield from _of_pool(asked, around)
    if memory_mb is not None:
        yield from _of_memory(asked, around, memory_mb)
    yield from _of_team(asked, around)


def _of_pool(asked: Asked, around: Surroundings) -> Iterator[Advice]:
    pool, needs = asked.placement.pool, asked.placement.needs
    if not around.machines:
        message = f"no worker served pool {pool!r} of late; the job waits until one does"
        yield Advice("no_worker_in_pool", "", message, "pool")
        return
    if not any(fits(needs, devices) for devices in around.machines):
        most = max(len(devices) for devices in around.machines)
        memory = f" of {needs.min_memory_mb} MiB" if needs.min_memory_mb else ""
        yield Advice(
            "larger_than_any_worker",
            "",
            f"{needs.gpus} GPUs{memory} are asked for, and no worker that pool {pool!r} had of "
            f"late has them (at most {most} GPUs); ask for less, or name another pool",
            "gpus",
        )
    gpus = [device for devices in around.machines for device in devices if device.uuid]
    if not gpus and any(run.job.training.precision == "fp16" for run in runs_of(asked)):
        yield Advice(
            "half_precision_without_gpu",
            "/training/precision",
            f"precision 'fp16' needs a GPU, and pool {pool!r} had none of late; use bf16 or fp32",
        )


def _of_memory(asked: Asked, around: Surroundings, memory_mb: int) -> Iterator[Advice]:
    pool, least = asked.placement.pool, asked.placement.needs.min_memory_mb
    found = {d.memory_mb for devices in around.machines for d in devices if d.uuid}
    if found and memory_mb > max(found):
        yield Advice(
            "batch_too_large_for_pool",
            "/training/batch_size" if runs_of(asked) else "/batch_size",
            f"about {memory_mb} MiB are needed on each GPU{_pictures(asked)}, and the largest that "
            f"pool {pool!r} had has {max(found)} MiB; lower batch_size, raise accumulation, use "
            "precision 'bf16', or name another pool",
        )
    elif 0 < least < memory_mb or (least == 0 and found and memory_mb > min(found)):
        asks = f"min_memory_mb is {least}" if least else "no min_memory_mb is given"
        yield Advice(
            "min_memory_below_estimate",
            "",
            f"{asks}, and about {memory_mb} MiB are needed on each GPU: a smaller one may take the "
            f"job and fail; give min_memory_mb {memory_mb}",
            "min_memory_mb",
        )


def _pictures(asked: Asked) -> str:
    found = {
        pictures_at_once(run.job.training, asked.placement.needs.gpus) for run in runs_of(asked)
    }
    return f" for {max(found)} pictures at once" if found else ""


def _of_team(asked: Asked, around: Surroundings) -> Iterator[Advice]:
    team, gpus = around.team, asked.placement.needs.gpus
    running, most = around.team_running_gpus, team.max_running_gpus
    if most is not None and gpus > most:
        message = f"team {team.name!r} may run {most} GPUs at once and {gpus} are asked for; ask "
        yield Advice("quota_would_refuse", "", message + "for fewer", "gpus")
    elif most is not None and running + gpus > most:
        message = f"team {team.name!r} runs {running} of the {most} GPUs that it may at once; the "
        yield Advice(
            "quota_would_hold", "", message + "job waits until some of its jobs end", "gpus"
        )
    queued = team.max_queued_jobs
    if queued is not None and around.team_waiting >= queued:
        yield Advice(
            "quota_would_refuse",
            "",
            f"team {team.name!r} has {around.team_waiting} jobs waiting and may have {queued}; "
            "wait until one starts, or cancel one",
            "team",
        )
