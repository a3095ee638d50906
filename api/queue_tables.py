"""The queue, workers and teams on a terminal."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

from rich.markup import escape
from rich.table import Table

from api.queue_views import (
    PoolView,
    RunningView,
    ShareView,
    TeamView,
    WaitingView,
    WorkerView,
)
from api.terminal import clock
from pgd_core.jobs.machine import WorkerState


def pool_line(pool: PoolView) -> str:
    """A pool in a sentence."""
    gpus = pool.gpus
    return (
        f"pool {pool.name}: {_number(pool.workers, 'worker')}, {_number(gpus.total, 'GPU')} "
        f"({gpus.busy} busy, {gpus.free} free), {_number(pool.waiting_jobs, 'job')} waiting"
    )


def pool_table(pool: PoolView) -> Table:
    """What runs, with its worker and its end, then what waits, with why and until when."""
    table = Table("place", "job", "team", "class", "GPUs", "when", box=None)
    for column in table.columns:
        column.no_wrap = column.header not in ("job", "team")
    table.columns[1].min_width = 36  # an id, whole on 80 columns too
    table.columns[2].overflow = "fold"
    for job in pool.running:
        ends = f"ends {clock(job.ends_at)}" if job.ends_at else ""
        gpus = str(len(job.slots))
        table.add_row("runs", _job(job, _where(job)), job.team, job.priority, gpus, ends)
    for waiting in pool.waiting.items:
        starts = f"about {clock(waiting.starts_at)}" if waiting.starts_at else ""
        table.add_row(
            str(waiting.position),
            _job(waiting, waiting.message),
            waiting.team,
            waiting.priority,
            str(waiting.gpus),
            starts,
        )
    return table


def workers_table(workers: Iterable[WorkerView]) -> Table:
    """One worker a row."""
    table = Table("worker", "pool", "state", "devices", "busy", "last seen", "trouble", box=None)
    for worker in workers:
        busy = sum(device.busy for device in worker.devices)
        names = Counter(device.name for device in worker.devices)
        table.add_row(
            escape(worker.name),
            worker.pool,
            worker.state,
            escape(", ".join(f"{count} x {name}" for name, count in names.items())),
            f"{busy} of {len(worker.devices)}" if _lives(worker) else "",
            clock(worker.seen_at) if worker.seen_at else "",
            escape(worker.trouble),
        )
    return table


def teams_table(teams: Iterable[TeamView], shares: Mapping[str, ShareView]) -> Table:
    """One team a row; `shares` by name, where there is a queue to stand in."""
    table = Table("team", "weight", "used", "runs", "most at once", "most waiting", box=None)
    for column in table.columns[1:]:
        column.justify = "right"
    for team in teams:
        share = shares.get(team.name)
        table.add_row(
            team.name,
            f"{team.weight:g}",
            f"{share.used_share:.0%}" if share else "-",
            str(share.running_gpus) if share else "-",
            _limit(team.max_running_gpus),
            _limit(team.max_queued_jobs),
        )
    return table


def _job(job: RunningView | WaitingView, what: str) -> str:
    """Its id, its name, what it does or waits for; a line each."""
    return "\n".join(escape(line) for line in (job.id or "of another team", job.name, what) if line)


def _where(job: RunningView) -> str:
    slots = ", ".join(map(str, job.slots))
    stopping = ", is stopping" if job.stopping else ""
    return f"{job.kind} on {job.worker}, slot {slots}{stopping}"


def _lives(worker: WorkerView) -> bool:
    return worker.state in (WorkerState.ACTIVE, WorkerState.DRAINING)


def _limit(limit: int | None) -> str:
    return "no limit" if limit is None else str(limit)


def _number(count: int, what: str) -> str:
    return f"{count} {what}" if count == 1 else f"{count} {what}s"
