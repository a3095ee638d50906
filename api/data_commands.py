"""`pgd data`: data sets."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from api.client import Client
from api.command_options import Json
from api.data_bars import bar, watch_check
from api.library_commands import show_answer
from api.packing import is_archive, names_archive, packed
from api.schemas import DatasetView

data = typer.Typer(no_args_is_help=True, help="Data sets.")
out = Console()
DatasetId = Annotated[str, typer.Argument(help="The data set's id; see pgd data ls.")]
To = Annotated[Path, typer.Option(help="File, or a folder that is there.")]


@data.command("add")
def data_add(
    context: typer.Context,
    name: str,
    path: Annotated[
        str,
        typer.Argument(
            help="A folder of the server with train.json, train/, val.json, val/ (or .odgt); an "
            "archive of this machine (.zip, .tar, .tar.gz, .tar.xz); or s3://BUCKET/PREFIX."
        ),
    ],
    upload: Annotated[
        bool, typer.Option("--upload", help="The folder is this machine's: pack and send it.")
    ] = False,
    team: Annotated[str | None, typer.Option("--team", help="Whose. [default: your own]")] = None,
    wait: Annotated[bool, typer.Option(help="Wait for its check.")] = True,
    as_json: Json = False,
) -> None:
    """Register a data set; the same name again is its next version."""
    with Client(context.obj, timeout_s=60) as client:
        dataset = _added(client, name, path, upload, team)
        if wait:
            dataset = watch_check(client, dataset.id, Console(stderr=True))
    show_answer(dataset, as_json, f"{dataset.id} {dataset.state}")
    if dataset.same_as and not as_json:
        typer.echo(f"the same content as {dataset.same_as}", err=True)
    if dataset.state == "rejected":
        for line in _findings(dataset, "errors"):
            typer.echo(f"pgd: {line}", err=True)
        raise typer.Exit(1)


def _added(client: Client, name: str, path: str, upload: bool, team: str | None) -> DatasetView:
    here = Path(path)
    if path.startswith("s3://"):
        return client.add_dataset_from_s3(name, path, team=team)
    if upload and not here.exists():
        raise typer.BadParameter(f"{path} is not on this machine; --upload sends what is")
    if names_archive(here) and not here.is_file():
        raise typer.BadParameter(f"there is no archive {path} on this machine")
    if not upload and not is_archive(here):
        return client.add_dataset(name, here.resolve(), team=team)
    with bar(Console(stderr=True)) as told, _archive(here, told) as archive:
        sent = client.upload(archive, lambda done, whole: told("sending", done, whole))
    return client.add_dataset_from_upload(name, sent.id, team=team)


@contextmanager
def _archive(path: Path, told: Callable[[str, float, float], None]) -> Iterator[Path]:
    if path.is_file():
        yield path
        return
    with packed(path, lambda done, whole: told("packing", done, whole)) as archive:
        yield archive


@data.command("ls")
def data_ls(context: typer.Context, as_json: Json = False) -> None:
    """List data sets, newest first."""
    with Client(context.obj) as client:
        page = client.datasets(limit=200)
    if as_json:
        show_answer(page, as_json, "")
        return
    table = Table("id", "name", "v", "state", "classes", "pictures", box=None)
    for column in table.columns[:1] + table.columns[2:]:  # whole, on 80 columns too
        column.no_wrap = True
    for item in page.items:
        counts = [item.report.get(split, {}).get("images", 0) for split in ("train", "val")]
        pictures = f"{counts[0]}+{counts[1]}" if any(counts) else "-"
        classes = str(len(item.classes))
        row = (item.id, escape(item.name), str(item.version), item.state, classes, pictures)
        table.add_row(*row)
    out.print(table)


@data.command("show")
def data_show(context: typer.Context, dataset_id: DatasetId, as_json: Json = False) -> None:
    """Show a data set in short."""
    with Client(context.obj) as client:
        dataset = client.dataset(dataset_id)
    if as_json:
        show_answer(dataset, as_json, "")
        return
    source = dataset.s3 or (f"upload {dataset.upload}" if dataset.upload else "the server's folder")
    lines = {
        "id": dataset.id,
        "name": f"{dataset.name}, version {dataset.version}, of team {dataset.team}",
        "state": f"{dataset.state} {_stage(dataset)}".rstrip(),
        "from": source,
        "train": f"{dataset.train_annotations}, {dataset.train_images}",
        "val": f"{dataset.val_annotations}, {dataset.val_images}",
        "classes": ", ".join(dataset.classes) or "-",
        "sha256": dataset.sha256 or "-",
        "same as": dataset.same_as or "-",
    }
    for title, text in lines.items():
        out.print(f"{title:<8} {text}", highlight=False, markup=False, soft_wrap=True)


@data.command("report")
def data_report(context: typer.Context, dataset_id: DatasetId, as_json: Json = False) -> None:
    """Show what the check of a data set found: every fault, and what it holds."""
    with Client(context.obj) as client:
        dataset = client.dataset(dataset_id)
    if as_json:
        typer.echo(json.dumps(dataset.report, indent=2))
        return
    report = dataset.report
    out.print(f"{dataset.state} {_stage(dataset)}".rstrip(), highlight=False, markup=False)
    for kind in ("errors", "warnings"):
        for line in _findings(dataset, kind):
            out.print(f"{kind[:-1]} {line}", highlight=False, markup=False, soft_wrap=True)
    table = Table("split", "pictures", "without objects", "objects", "small", "medium", "large")
    for column in table.columns[1:]:
        column.justify = "right"
    for split in ("train", "val"):
        if split in report:
            table.add_row(split, *_counts(report[split]))
    if table.rows:
        out.print(table)
    if report.get("shared_pictures"):
        out.print(f"{report['shared_pictures']} pictures of val are in train too")


def _counts(split: dict[str, Any]) -> list[str]:
    sizes = split.get("sizes", {})
    numbers = [
        *(split.get("images"), split.get("images_without_objects")),
        sum(split.get("objects_per_class", {}).values()),
        *(sizes.get(size) for size in ("small", "medium", "large")),
    ]
    return ["-" if number is None else str(number) for number in numbers]


@data.command("contact-sheet")
def data_contact_sheet(
    context: typer.Context, dataset_id: DatasetId, to: To = Path(), as_json: Json = False
) -> None:
    """Download a picture with some of a data set's pictures and their boxes."""
    with Client(context.obj) as client:
        _show_path(client.contact_sheet(dataset_id, to), as_json)


@data.command("subset")
def data_subset(
    context: typer.Context,
    dataset_id: DatasetId,
    classes: Annotated[
        list[str] | None,
        typer.Option("--class", help="Only pictures that show it; give it several times."),
    ] = None,
    images: Annotated[int | None, typer.Option(min=1, help="Of train, at most.")] = None,
    val_images: Annotated[int | None, typer.Option(min=1, help="Of val, at most.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of which pictures.")] = 0,
    to: To = Path(),
    as_json: Json = False,
) -> None:
    """Download a part of a data set as a zip in COCO's layout."""
    with Client(context.obj) as client:
        path = client.subset(
            dataset_id,
            to,
            classes=classes or (),
            images=images,
            val_images=val_images,
            seed=seed,
        )
    _show_path(path, as_json)


@data.command("rm")
def data_rm(context: typer.Context, dataset_id: DatasetId, as_json: Json = False) -> None:
    """Delete a data set, and what was sent of it; refused while a job needs it."""
    with Client(context.obj) as client:
        client.delete_dataset(dataset_id)
    typer.echo(json.dumps({"deleted": dataset_id}) if as_json else f"{dataset_id} deleted")


def _show_path(path: Path, as_json: bool) -> None:
    typer.echo(json.dumps(str(path)) if as_json else path)


def _stage(dataset: DatasetView) -> str:
    stage, done = dataset.progress.get("stage"), dataset.progress.get("done")
    return "" if not stage else f"({stage}{'' if done is None else f', {done:.0%}'})"


def _findings(dataset: DatasetView, kind: str) -> list[str]:
    lines = []
    for found in dataset.report.get(kind, []):
        times = f" x {found['count']}" if found.get("count", 1) > 1 else ""
        said = ": ".join(str(found[key]) for key in ("pointer", "message") if found.get(key))
        lines.append(f"{found.get('code', '')}{times}: {said}")
    return lines
