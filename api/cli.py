"""The `pgd` command."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import ValidationError
from rich.console import Console
from typer.core import TyperGroup

from api import terminal
from api.client import ApiError, Client, PlacementOptions
from api.command_options import Gpus, JobId, Json, MinMemory, PoolName, Priority, TeamName
from api.data_commands import data
from api.key_commands import commands as key_commands
from api.library_commands import show_answer
from api.live_commands import commands as live_commands
from api.model_commands import commands as model_commands
from api.queue_commands import commands as queue_commands
from api.spec_commands import SpecPath, spec_file, tell_warnings, told_by_line
from api.spec_commands import commands as spec_commands
from api.teacher_commands import teacher
from api.transfer_commands import commands as transfer_commands


class Commands(TyperGroup):
    """Tells what the service refused in a sentence, not in a traceback."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except (ApiError, TimeoutError, OSError) as error:
            typer.echo(f"pgd: {error}", err=True)
            if getattr(error, "status", 0) == 401:
                typer.echo("pgd: `pgd login URL` keeps a key; PGD_API_KEY goes before it", err=True)
            raise typer.Exit(1) from error


EXIT_CODES = (
    "Exit codes: 0 done; 1 the service refused, was not reached, or the job or check did not "
    "succeed; 2 the command was called wrongly, or a file that it was given is no spec."
)
app = typer.Typer(
    cls=Commands,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Distil light object detectors from heavy ones.",
    epilog=EXIT_CODES,
)
app.add_typer(data, name="data")
app.add_typer(teacher, name="teacher")
app.add_typer(spec_commands)
app.add_typer(queue_commands)
app.add_typer(transfer_commands)
app.add_typer(key_commands)
app.add_typer(model_commands)
app.add_typer(live_commands)
out = Console()


@app.callback()
def _service(
    context: typer.Context,
    url: Annotated[
        str, typer.Option(envvar="PGD_URL", help="Where the service is.")
    ] = "http://127.0.0.1:8080",
) -> None:
    context.obj = url


@app.command()
def up(
    data_folder: Annotated[
        Path | None, typer.Option(help="Everything the service keeps. [default: pgd-data]")
    ] = None,
    host: Annotated[str | None, typer.Option(help="Address. [default: 127.0.0.1]")] = None,
    port: Annotated[int | None, typer.Option(help="0: any free one. [default: 8080]")] = None,
    dataset_root: Annotated[
        list[Path] | None, typer.Option(help="A folder that data sets may be registered from.")
    ] = None,
    workers: Annotated[
        int | None, typer.Option(min=1, max=64, help="Processes that run jobs. [default: 1]")
    ] = None,
    slots: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=256,
            help="Jobs of each worker that share its processor; a GPU is one. [default: 1]",
        ),
    ] = None,
) -> None:
    """Run the whole service on this machine until Ctrl-C."""
    from api.embedded import CannotStart, up
    from api.processes import GaveUp
    from pgd_core.settings import Settings

    roots = tuple(root.resolve() for root in dataset_root or ())
    given = {
        "data_folder": data_folder,
        "host": host,
        "port": port,
        "dataset_roots": roots or None,
        "workers": workers,
        "slots": slots,
    }

    def warn(text: str) -> None:
        typer.echo(f"pgd: {text}", err=True)

    try:
        settings = Settings(**{name: value for name, value in given.items() if value is not None})  # type: ignore[arg-type]
    except ValidationError as error:
        for problem in error.errors():
            warn(f"setting PGD_{str(problem['loc'][0]).upper()}: {problem['msg']}")
        raise typer.Exit(2) from error

    def announce(url: str) -> None:
        typer.echo(f"pgd is ready at {url} (data and logs in {settings.data_folder}; Ctrl-C stops)")
        sys.stdout.flush()

    try:
        up(settings, announce, warn)
    except (CannotStart, GaveUp) as error:
        warn(str(error))
        raise typer.Exit(1) from error


@app.command()
def demo(
    data: Annotated[str, typer.Option(help="digits or trees")] = "digits",
    seed: Annotated[int, typer.Option(min=0, help="Of both trainings.")] = 0,
    data_folder: Annotated[
        Path | None, typer.Option(help="[default: demo-output/DATA-seedSEED]")
    ] = None,
) -> None:
    """Train a teacher, distil a student, and measure what distillation gained."""
    from api.demo import DemoFailed, run_demo

    try:
        run_demo(data, seed, data_folder or Path("demo-output") / f"{data}-seed{seed}", out)
    except DemoFailed as error:
        typer.echo(f"pgd demo: {error}", err=True)
        raise typer.Exit(1) from error


@app.command()
def replica(
    seeds: Annotated[int, typer.Option(min=1, max=20, help="Of FCOS's students.")] = 1,
    seeds_of_all: Annotated[int, typer.Option(min=1, max=20, help="Of all other students.")] = 1,
    data_folder: Annotated[Path | None, typer.Option(help="[default: replica-output]")] = None,
) -> None:
    """The paper in miniature: five detectors and every method, on scenes of digits."""
    from api.demo import DemoFailed
    from api.replica import run_replica

    try:
        run_replica(seeds, seeds_of_all, data_folder or Path("replica-output"), out)
    except DemoFailed as error:
        typer.echo(f"pgd replica: {error}", err=True)
        raise typer.Exit(1) from error


@app.command()
def submit(
    context: typer.Context,
    spec: SpecPath,
    validate_only: Annotated[bool, typer.Option(help="Check it, queue nothing.")] = False,
    key: Annotated[str | None, typer.Option(help="Idempotency key.")] = None,
    team: TeamName = None,
    pool: PoolName = None,
    priority: Priority = None,
    gpus: Gpus = None,
    min_memory_mb: MinMemory = None,
    as_json: Json = False,
) -> None:
    """Queue a job."""
    given = spec_file(spec)
    placement: PlacementOptions = {
        "team": team,
        "pool": pool,
        "priority": priority,
        "gpus": gpus,
        "min_memory_mb": min_memory_mb,
    }
    with Client(context.obj) as client, told_by_line(given):
        if validate_only:
            checked = client.validate(given.content, **placement)
            show_answer(checked, as_json, "valid")
            tell_warnings(checked.warnings, given)
            return
        job = client.submit(given.content, idempotency_key=key, **placement)
    show_answer(job, as_json, job.id)
    tell_warnings(job.warnings, given)


@app.command("ls")
def ls(
    context: typer.Context,
    state: Annotated[str | None, typer.Option(help="Only jobs in this state.")] = None,
    kind: Annotated[
        str | None, typer.Option(help="train, distill, evaluate, analyse or study.")
    ] = None,
    team: TeamName = None,
    pool: PoolName = None,
    limit: Annotated[int, typer.Option(min=1, max=200)] = 20,
    as_json: Json = False,
) -> None:
    """List jobs, newest first."""
    with Client(context.obj) as client:
        page = client.jobs(state=state, kind=kind, team=team, pool=pool, limit=limit)
    if as_json:
        show_answer(page, as_json, "")
    else:
        out.print(terminal.jobs_table(page.items))


@app.command()
def show(context: typer.Context, job_id: JobId, as_json: Json = False) -> None:
    """Show a job and its result."""
    with Client(context.obj) as client:
        job = client.job(job_id)
        artifacts = client.artifacts(job_id)
    if as_json:
        show_answer(job, as_json, "")
        return
    out.print(terminal.jobs_table([job]))
    for text in (job.message, terminal.waits(job)):
        if text:
            out.print(text, highlight=False, markup=False)
    if job.kind == "study" and job.result:
        out.print(terminal.study_table(job.result))
    elif job.result:
        out.print(terminal.result_table(job.result), *terminal.gains(job.result), sep="\n")
    for artifact in artifacts:
        typer.echo(f"{artifact.sha256}  {artifact.size:>12}  {artifact.name}")


@app.command()
def watch(context: typer.Context, job_id: JobId, as_json: Json = False) -> None:
    """Follow a job until it ends; the exit code is 0 only when it succeeded."""
    with Client(context.obj) as client:
        if as_json:
            for job in client.watch(job_id):
                typer.echo(job.model_dump_json())
        else:
            job = terminal.follow(client, job_id, out, job_id[-8:])
            out.print(terminal.jobs_table([job]))
            if job.message:
                out.print(job.message, highlight=False, markup=False)
    if job.state != "succeeded":
        raise typer.Exit(1)


if __name__ == "__main__":
    app()
