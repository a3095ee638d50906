"""`pgd data`, and how commands read and print JSON."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import BaseModel

from api.client import Client
from api.command_options import Json
from api.schemas import DatasetView

data = typer.Typer(no_args_is_help=True, help="Data sets.")


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


def _lines(items: Iterable[DatasetView]) -> str:
    return "\n".join(
        f"{item.id}  {item.state:<8}  {len(item.classes):>4} classes  {item.name}" for item in items
    )
