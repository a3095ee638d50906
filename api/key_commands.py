"""`pgd login`, `pgd me`, `pgd keys` and `pgd audit`."""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime, timedelta
from typing import Annotated

import httpx
import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from api.client import Client
from api.client.credentials import keep_key
from api.command_options import Json
from api.key_views import KeyView
from api.library_commands import show_answer
from pgd_core.jobs.keys import Role

commands = typer.Typer()
keys = typer.Typer(no_args_is_help=True, help="API keys.")
commands.add_typer(keys, name="keys")
out = Console()

KeyTeam = Annotated[str | None, typer.Option("--team", help="Whose. [default: your own]")]


@commands.command()
def login(
    context: typer.Context,
    url: Annotated[str | None, typer.Argument(help="[default: --url or PGD_URL]")] = None,
    as_json: Json = False,
) -> None:
    """Keep the API key of a service; it is asked for, or read from standard input."""
    address = url or context.obj
    asking = sys.stdin.isatty()
    said = typer.prompt("API key", hide_input=True) if asking else sys.stdin.readline()
    secret = said.strip()
    if not secret:
        typer.echo("pgd: no API key was given on standard input", err=True)
        raise typer.Exit(2)
    with Client(address, api_key=secret) as client:
        found = client.me()
    path, me = keep_key(httpx.URL(address), secret), found.key
    show_answer(found, as_json, f"{me.name}, {me.role} of {_team(me)}; the key is in {path}")


@commands.command()
def me(context: typer.Context, as_json: Json = False) -> None:
    """Say whose API key is sent, and what it may do."""
    with Client(context.obj) as client:
        found = client.me()
    key = found.key
    expires = f", until {_day(key.expires_at)}" if key.expires_at else ""
    show_answer(found, as_json, f"{key.name}, {key.role} of {_team(key)}{expires}")


@commands.command()
def audit(
    context: typer.Context,
    team: KeyTeam = None,
    limit: Annotated[int, typer.Option(min=1, max=200)] = 50,
    as_json: Json = False,
) -> None:
    """Tell who did what through the API, newest first."""
    with Client(context.obj) as client:
        page = client.audit_events(team=team, limit=limit)
    if as_json:
        show_answer(page, as_json, "")
        return
    table = Table("when", "who", "team", "did", "to", box=None)
    for event in page.items:
        when = f"{event.at.astimezone():%Y-%m-%d %H:%M:%S}"
        table.add_row(when, escape(event.key_name), event.team, event.action, escape(event.thing))
    out.print(table)


@keys.command("add")
def keys_add(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="What the history of jobs says of its holder.")],
    role: Annotated[Role, typer.Option(help="Each may do what the one before it may.")],
    team: KeyTeam = None,
    all_teams: Annotated[bool, typer.Option(help="An operator's; with --role admin.")] = False,
    days: Annotated[float | None, typer.Option(min=0, help="[default: it never expires]")] = None,
    as_json: Json = False,
) -> None:
    """Make an API key, and print its secret this once."""
    expires_at = None if days is None else datetime.now(UTC) + timedelta(days=days)
    with Client(context.obj) as client:
        made = client.add_key(name, role, team=team, all_teams=all_teams, expires_at=expires_at)
    show_answer(made, as_json, made.secret)


@keys.command("ls")
def keys_ls(
    context: typer.Context,
    team: KeyTeam = None,
    limit: Annotated[int, typer.Option(min=1, max=200)] = 200,
    as_json: Json = False,
) -> None:
    """List API keys, newest first."""
    with Client(context.obj) as client:
        page = client.keys(team=team, limit=limit)
    if as_json:
        show_answer(page, as_json, "")
        return
    table = Table("id", "name", "team", "role", "begins", "last used", "state", box=None)
    for key in page.items:
        used = _day(key.last_used_at) if key.last_used_at else "never"
        row = (key.id, escape(key.name), key.team, key.role, key.prefix, used, _state(key))
        table.add_row(*row)
    out.print(table)


@keys.command("revoke")
def keys_revoke(
    context: typer.Context,
    key_id: Annotated[str, typer.Argument(help="See pgd keys ls.")],
    as_json: Json = False,
) -> None:
    """Revoke an API key: from now on it opens nothing."""
    with Client(context.obj) as client:
        key = client.revoke_key(key_id)
    show_answer(key, as_json, f"{key.name} is revoked")


@keys.command("init")
def keys_init(
    name: Annotated[str, typer.Option(help="Of the key.")] = "operator",
    another: Annotated[bool, typer.Option(help="Though an operator's key is there.")] = False,
    as_json: Json = False,
) -> None:
    """Make the first operator's key of a deployment, where PGD_DATABASE_URL is set."""
    from sqlalchemy.exc import OperationalError

    from api.first_key import AlreadyThere, first_key
    from pgd_core.settings import Settings

    try:
        secret = first_key(Settings(), name, another=another)
    except (AlreadyThere, OperationalError) as error:
        typer.echo(f"pgd: {getattr(error, 'orig', error)}", err=True)
        raise typer.Exit(1) from error
    typer.echo("the operator's key, shown this once; pgd login URL keeps it:", err=True)
    typer.echo(json.dumps({"secret": secret}) if as_json else secret)


def _team(key: KeyView) -> str:
    return "all teams" if key.team == "*" else f"team {key.team}"


def _state(key: KeyView) -> str:
    if key.revoked_at is not None:
        return "revoked"
    if key.expires_at is None:
        return "good"
    if key.expires_at <= datetime.now(UTC):
        return "expired"
    return f"until {_day(key.expires_at)}"


def _day(at: datetime) -> str:
    return f"{at.astimezone():%Y-%m-%d}"
