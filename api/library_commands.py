"""`pgd data` and `pgd teacher`, and how commands read and print JSON."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import BaseModel

from api.client import Client
from api.command_options import Json
from api.schemas import DatasetView, TeacherView
from api.transfer_bar import transfer_bar

data = typer.Typer(no_args_is_help=True, help="Data sets.")
teacher = typer.Typer(no_args_is_help=True, help="Teachers.")


def show_answer(answer: BaseModel, as_json: bool, text: str) -> None:
    """Print an answer, as JSON or in short."""
    typer.echo(answer.model_dump_json(indent=2) if as_json else text)


def json_object(text: str, source: str) -> dict[str, Any]:
    """What a file says, when it is a JSON object."""
    try:
        content = json.loads(text)
    except ValueError as error:
        raise typer.BadParameter(f"{source} is not JSON: {error}") from error
    if not isinstance(content, dict):
        raise typer.BadParameter(f"{source} is not a JSON object")
    return content


@data.command("add")
def data_add(
    context: typer.Context,
    name: str,
    folder: Annotated[
        Path, typer.Argument(help="With train.json, train/, val.json, val/; or .odgt.")
    ],
    wait: Annotated[bool, typer.Option(help="Wait for its check.")] = True,
    as_json: Json = False,
) -> None:
    """Register a data set."""
    with Client(context.obj) as client:
        dataset = client.add_dataset(name, folder.resolve())
        if wait:
            dataset = client.wait_for_dataset(dataset.id)
    show_answer(dataset, as_json, f"{dataset.id} {dataset.state}")
    if dataset.state == "rejected":
        for finding in dataset.report.get("errors", []):
            said = (finding.get(key, "") for key in ("code", "pointer", "message"))
            typer.echo("pgd: {}: {}: {}".format(*said), err=True)
        raise typer.Exit(1)


@data.command("ls")
def data_ls(context: typer.Context, as_json: Json = False) -> None:
    """List data sets."""
    with Client(context.obj) as client:
        page = client.datasets(limit=200)
    show_answer(page, as_json, _lines(page.items))


@teacher.command("add")
def teacher_add(
    context: typer.Context,
    name: str,
    job: Annotated[str | None, typer.Option(help="From this train or distill job.")] = None,
    file: Annotated[Path | None, typer.Option(help="Or from this checkpoint.")] = None,
    declaration: Annotated[
        Path | None, typer.Option(help='With --file: JSON of {"model": …, "classes": […]}.')
    ] = None,
    wait: Annotated[bool, typer.Option(help="Wait for its check.")] = True,
    as_json: Json = False,
) -> None:
    """Register a teacher from a job, or from a checkpoint with its declaration."""
    if (job is None) == (file is None) or (file is None) != (declaration is None):
        raise typer.BadParameter("give --job, or --file with --declaration")
    with Client(context.obj) as client:
        if job is not None:
            added = client.add_teacher_from_job(name, job)
        else:
            assert file is not None
            assert declaration is not None
            said = json_object(declaration.read_text(), str(declaration))
            with transfer_bar(file.name) as progress:
                upload = client.upload(file, progress)
            model, classes = said.get("model", {}), said.get("classes", [])
            added = client.add_teacher_from_upload(name, upload.id, model, classes)
        if wait:
            added = client.wait_for_teacher(added.id)
    show_answer(added, as_json, f"{added.id} {added.state}")
    if added.state == "rejected":
        typer.echo(f"pgd: {added.message}", err=True)
        raise typer.Exit(1)


@teacher.command("ls")
def teacher_ls(context: typer.Context, as_json: Json = False) -> None:
    """List teachers."""
    with Client(context.obj) as client:
        page = client.teachers(limit=200)
    show_answer(page, as_json, _lines(page.items))


def _lines(items: Iterable[DatasetView | TeacherView]) -> str:
    return "\n".join(
        f"{item.id}  {item.state:<8}  {len(item.classes):>4} classes  {item.name}" for item in items
    )
