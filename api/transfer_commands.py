"""`pgd upload` and `pgd download`: files there and back, going on where an earlier try ended."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from api.client import Client
from api.command_options import Json
from api.library_commands import show_answer
from api.transfer_bar import transfer_bar

commands = typer.Typer()


@commands.command()
def upload(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(help="Of any kind.")],
    as_json: Json = False,
) -> None:
    """Send a file, checked against its sha256; again after a break, it goes on where it ended."""
    with Client(context.obj) as client, transfer_bar(file.name) as progress:
        sent = client.upload(file, progress)
    show_answer(sent, as_json, sent.id)


@commands.command()
def download(
    context: typer.Context,
    job_id: Annotated[str, typer.Argument(metavar="JOB", help="A job's id, or a model's.")],
    names: Annotated[list[str] | None, typer.Argument(help="Artifacts; all when none.")] = None,
    to: Annotated[Path, typer.Option(help="Folder.")] = Path(),
    as_json: Json = False,
) -> None:
    """Download a job's or model's artifacts, each checked by its sha256; again, it goes on."""
    with Client(context.obj) as client:
        job_id = client.job_behind(job_id)
        wanted = names or [artifact.name for artifact in client.artifacts(job_id)]
        if not wanted:
            state = client.job(job_id).state
            typer.echo(f"pgd: job {job_id} is {state} and has published nothing", err=True)
            raise typer.Exit(1)
        to.mkdir(parents=True, exist_ok=True)
        paths = [_downloaded(client, job_id, name, to) for name in wanted]
    typer.echo(json.dumps([str(path) for path in paths]) if as_json else "\n".join(map(str, paths)))


def _downloaded(client: Client, job_id: str, name: str, folder: Path) -> Path:
    with transfer_bar(name) as progress:
        return client.download(job_id, name, folder, progress)
