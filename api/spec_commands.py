"""`pgd check` and `pgd init`, and how commands read specs and tell what is wrong with them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from api.checked import CheckedSpec, WarningView
from api.client import ApiError, Client, PlacementOptions
from api.command_options import Gpus, Json, MinMemory, PoolName, Priority, TeamName
from api.library_commands import show_answer
from api.spec_files import NoSpec, SpecFile, read_spec
from api.terminal import clock
from pgd_core.jobs.template import STARTERS, template

commands = typer.Typer()
out = Console()
SpecPath = Annotated[
    Path, typer.Argument(help="The job's spec as YAML or JSON; - reads standard input.")
]


def spec_file(path: Path) -> SpecFile:
    """The spec; a usage error where the file is none."""
    try:
        return read_spec(path)
    except NoSpec as error:
        raise typer.BadParameter(str(error)) from error


@contextmanager
def told_by_line(given: SpecFile) -> Iterator[None]:
    """Tell each thing that the service finds wrong with the spec, and where it stands."""
    try:
        yield
    except ApiError as error:
        if not error.errors:
            raise
        for item in error.errors:
            pointer, where = item.get("pointer"), item.get("parameter", "")
            place = f"--{where}" if pointer is None else f"{given.where(pointer)}: {pointer}"
            place = place.removesuffix(": ")
            typer.echo(f"pgd: {place}: {item.get('detail', error.detail)}", err=True)
        raise typer.Exit(1) from error


def tell_warnings(warnings: Iterable[WarningView], given: SpecFile) -> None:
    """One a line, to standard error."""
    for one in warnings:
        typer.echo(f"pgd: warning: {_place(one, given)}: {one.message} [{one.code}]", err=True)


@commands.command("check")
@commands.command("validate", hidden=True)
def check(
    context: typer.Context,
    spec: SpecPath,
    team: TeamName = None,
    pool: PoolName = None,
    priority: Priority = None,
    gpus: Gpus = None,
    min_memory_mb: MinMemory = None,
    as_json: Json = False,
) -> None:
    """Check a spec without queueing it: errors, warnings, memory, time. Exit code 1 on errors."""
    given = spec_file(spec)
    placement: PlacementOptions = {
        "team": team,
        "pool": pool,
        "priority": priority,
        "gpus": gpus,
        "min_memory_mb": min_memory_mb,
    }
    with Client(context.obj) as client, told_by_line(given):
        found = client.validate(given.content, **placement)
    if as_json:
        show_answer(found, as_json, "")
        return
    typer.echo("valid")
    out.print(_estimates(found))
    if found.warnings:
        out.print(_warnings(found.warnings, given))


@commands.command("init")
def init(
    kind: Annotated[str, typer.Argument(help=", ".join(STARTERS))] = "distill",
    to: Annotated[
        Path | None, typer.Option("--out", help="A new file. [default: standard output]")
    ] = None,
    as_json: Json = False,
) -> None:
    """Write a spec in YAML with every field explained; ids are left to be filled in."""
    if kind not in STARTERS:
        close = get_close_matches(kind, STARTERS, n=1)
        guess = f"; did you mean {close[0]!r}?" if close else ""
        raise typer.BadParameter(f"{kind!r} is none of {', '.join(STARTERS)}{guess}")
    text = template(kind)
    if to is None:
        typer.echo(_as_json(text) if as_json else text, nl=False)
        return
    try:
        with to.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError as error:
        raise typer.BadParameter(f"{to} is there already; name a new file") from error
    typer.echo(_as_json(text) if as_json else f"{to}: fill in the ids, then pgd check {to}")


def _as_json(text: str) -> str:
    import json

    from api.spec_files import parse_spec

    return json.dumps(parse_spec(text, "the template").content, indent=2) + "\n"


def _estimates(found: CheckedSpec) -> Table:
    memory = "not known" if found.memory_mb is None else f"about {found.memory_mb:,} MiB a GPU"
    lasts = "not known" if found.expected_s is None else _duration(found.expected_s)
    starts = "not known" if found.starts_at is None else f"about {clock(found.starts_at)}"
    ends = "not known" if found.expected_end is None else f"about {clock(found.expected_end)}"
    table = Table("estimate", "", "because", box=None)
    table.add_row("memory", memory, "estimated from the spec, for the largest input")
    table.add_row("takes", lasts, escape(found.expected_because))
    table.add_row("starts", starts, escape(found.waits_message))
    table.add_row("ends", ends, "")
    return table


def _warnings(warnings: Iterable[WarningView], given: SpecFile) -> Table:
    table = Table("warning", "where", "what", box=None)
    for one in warnings:
        table.add_row(one.code, escape(_place(one, given)), escape(one.message))
    return table


def _place(one: WarningView, given: SpecFile) -> str:
    if one.parameter:
        return "--" + one.parameter.replace("_", "-")
    return f"{given.where(one.pointer)} {one.pointer}"


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}"
