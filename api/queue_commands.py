"""The commands of the queue: what people see of it and ask of jobs, workers and teams."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.console import Console

from api import queue_tables
from api.client import Client
from api.command_options import Gpus, JobId, Json, MinMemory, PoolName, Priority, TeamName
from api.library_commands import show_answer
from api.schemas import EventView, JobView, Page, Series
from api.terminal import waits

commands = typer.Typer()
out = Console()
NO_LIMIT = -1


@commands.command()
def cancel(context: typer.Context, job_id: JobId, as_json: Json = False) -> None:
    """Cancel a job: a waiting one at once, a running one as soon as its worker obeys."""
    with Client(context.obj) as client:
        job = client.cancel(job_id)
    said = "cancelled" if job.state == "cancelled" else "asked to stop"
    show_answer(job, as_json, f"{job.id} {said}")


@commands.command()
def pause(context: typer.Context, job_id: JobId, as_json: Json = False) -> None:
    """Pause a job: a queued one at once, a running one after a checkpoint."""
    with Client(context.obj) as client:
        job = client.pause(job_id)
    said = "paused" if job.state == "paused" else "asked to pause"
    show_answer(job, as_json, f"{job.id} {said}")


@commands.command()
def resume(context: typer.Context, job_id: JobId, as_json: Json = False) -> None:
    """Queue a paused job again, in its old place."""
    with Client(context.obj) as client:
        _show_place(client.resume(job_id), as_json)


@commands.command()
def retry(context: typer.Context, job_id: JobId, as_json: Json = False) -> None:
    """Queue a failed or cancelled job again, from its newest checkpoint."""
    with Client(context.obj) as client:
        _show_place(client.retry(job_id), as_json)


@commands.command()
def move(
    context: typer.Context,
    job_id: JobId,
    team: TeamName = None,
    pool: PoolName = None,
    priority: Priority = None,
    gpus: Gpus = None,
    min_memory_mb: MinMemory = None,
    as_json: Json = False,
) -> None:
    """Move a waiting job, or change the class of a running one."""
    with Client(context.obj) as client:
        job = client.change(
            job_id,
            team=team,
            pool=pool,
            priority=priority,
            gpus=gpus,
            min_memory_mb=min_memory_mb,
        )
    _show_place(job, as_json)


@commands.command()
def events(
    context: typer.Context,
    job_id: JobId,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Until the job ends.")] = False,
    as_json: Json = False,
) -> None:
    """Tell what happened to a job: when, who, what and why."""
    if follow:
        with Client(context.obj) as client:
            for event in client.events(job_id, follow=True):
                typer.echo(event.model_dump_json() if as_json else _told(event))
        return
    told: list[EventView] = []
    with Client(context.obj) as client:
        has_more = True
        while has_more:
            piece = client.events(job_id, after=told[-1].sequence if told else 0)
            told, has_more = told + piece.items, piece.has_more
    if as_json:
        last = told[-1].sequence if told else 0
        show_answer(Series(items=told, has_more=False, next_after=last), as_json, "")
        return
    for event in told:
        typer.echo(_told(event))


def _told(event: EventView) -> str:
    return f"{event.at.astimezone():%Y-%m-%d %H:%M:%S}  {event.sentence}"


@commands.command()
def queue(
    context: typer.Context,
    pool: PoolName = None,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="Waiting jobs of a pool.")] = 100,
    as_json: Json = False,
) -> None:
    """Show what runs and until when, what waits and why, and when it will start."""
    with Client(context.obj) as client:
        found = client.queue(pool=pool, limit=limit)
    if as_json:
        show_answer(found, as_json, "")
        return
    if not found.pools:
        typer.echo("no worker is there and no job waits" + (f" in pool {pool}" if pool else ""))
    for view in found.pools:
        typer.echo(queue_tables.pool_line(view))
        if view.running or view.waiting.items:
            out.print(queue_tables.pool_table(view))
        if view.waiting.has_more:
            typer.echo(f"and {view.waiting_jobs - len(view.waiting.items)} more; see --limit")


@commands.command()
def workers(
    context: typer.Context,
    gone_too: Annotated[bool, typer.Option(help="Those that stopped, too.")] = False,
    as_json: Json = False,
) -> None:
    """List workers: state, devices, trouble."""
    with Client(context.obj) as client:
        found = client.workers(gone_too=gone_too)
    if as_json:
        show_answer(Page(items=found, has_more=False), as_json, "")
    else:
        out.print(queue_tables.workers_table(found))


@commands.command()
def drain(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="The worker's name, see pgd workers.")],
    undo: Annotated[bool, typer.Option("--undo", help="Let it claim again.")] = False,
    as_json: Json = False,
) -> None:
    """Let a worker finish what it runs and claim nothing more."""
    with Client(context.obj) as client:
        worker = client.undrain(name) if undo else client.drain(name)
    show_answer(worker, as_json, f"{worker.name} is {worker.state}")


@commands.command()
def teams(context: typer.Context, as_json: Json = False) -> None:
    """List teams: weights, limits, what they have used."""
    with Client(context.obj) as client:
        found, standing = client.teams(), client.queue(limit=1)
    if as_json:
        show_answer(Page(items=found, has_more=False), as_json, "")
        return
    shares = {share.name: share for pool in standing.pools for share in pool.teams}
    out.print(queue_tables.teams_table(found, shares))


@commands.command()
def team(
    context: typer.Context,
    name: str,
    weight: Annotated[
        float | None, typer.Option(help="Twice the weight, twice the GPU time. [a new team: 1]")
    ] = None,
    max_gpus: Annotated[
        int | None, typer.Option(min=NO_LIMIT, help="At once; -1: no limit.")
    ] = None,
    max_queued: Annotated[
        int | None, typer.Option(min=NO_LIMIT, help="Jobs waiting or paused; -1: no limit.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Make a team or change it; what is not given stays as it is."""
    with Client(context.obj) as client:
        old = next((one for one in client.teams() if one.name == name), None)
        made = client.put_team(
            name,
            weight=weight if weight is not None else old.weight if old else 1.0,
            max_running_gpus=_limit(max_gpus, old.max_running_gpus if old else None),
            max_queued_jobs=_limit(max_queued, old.max_queued_jobs if old else None),
        )
    show_answer(made, as_json, f"team {made.name}: weight {made.weight:g}")


def _show_place(job: JobView, as_json: bool) -> None:
    show_answer(job, as_json, f"{job.id} {job.state}" + (f": {waits(job)}" if waits(job) else ""))


def _limit(asked: int | None, old: int | None) -> int | None:
    if asked is None:
        return old
    return None if asked == NO_LIMIT else asked
