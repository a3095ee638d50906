"""`pgd logs` and `pgd webhooks`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from api.client import Client
from api.command_options import JobId, Json
from api.library_commands import show_answer

commands = typer.Typer()
webhooks = typer.Typer(no_args_is_help=True, help="Addresses that are told of what happens.")
commands.add_typer(webhooks, name="webhooks")
out = Console()

WebhookId = Annotated[str, typer.Argument(help="See pgd webhooks ls.")]
WebhookTeam = Annotated[str | None, typer.Option("--team", help="Whose. [default: your own]")]


@commands.command()
def logs(
    context: typer.Context,
    job_id: JobId,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Until the job ends.")] = False,
    download: Annotated[
        Path | None, typer.Option(help="Write the whole log to this file, or into this folder.")
    ] = None,
    attempt: Annotated[int | None, typer.Option(min=1, help="[default: the newest]")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print each piece as JSON.")] = False,
) -> None:
    """Print the end of a job's log, follow it, or download all of it."""

    def tell(text: str) -> None:
        typer.echo(json.dumps({"text": text}) if as_json else text, nl=as_json)

    with Client(context.obj) as client:
        if download is not None:
            path = str(client.download_log(job_id, download, attempt=attempt))
            typer.echo(json.dumps({"path": path}) if as_json else path)
        elif follow:
            for text in client.follow_logs(job_id):
                tell(text)
        else:
            tell(client.logs(job_id, attempt=attempt))


@webhooks.command("add")
def webhooks_add(
    context: typer.Context,
    url: Annotated[str, typer.Argument(help="https://…")],
    kind: Annotated[
        list[str] | None, typer.Option(help="Of event, such as failed. [default: all]")
    ] = None,
    team: WebhookTeam = None,
    as_json: Json = False,
) -> None:
    """Have an address told of events, and print its signing secret this once."""
    with Client(context.obj) as client:
        made = client.add_webhook(url, kind or (), team=team)
    show_answer(made, as_json, f"{made.id}\n{made.secret}")


@webhooks.command("ls")
def webhooks_ls(
    context: typer.Context,
    team: WebhookTeam = None,
    limit: Annotated[int, typer.Option(min=1, max=200)] = 200,
    as_json: Json = False,
) -> None:
    """List webhooks, newest first."""
    with Client(context.obj) as client:
        page = client.webhooks(team=team, limit=limit)
    if as_json:
        show_answer(page, as_json, "")
        return
    table = Table("id", "team", "events", "url", box=None)
    for webhook in page.items:
        kinds = ", ".join(webhook.kinds) or "all"
        table.add_row(webhook.id, webhook.team, kinds, escape(webhook.url))
    out.print(table)


@webhooks.command("rm")
def webhooks_rm(context: typer.Context, webhook_id: WebhookId, as_json: Json = False) -> None:
    """Delete a webhook."""
    with Client(context.obj) as client:
        webhook = client.delete_webhook(webhook_id)
    show_answer(webhook, as_json, f"{webhook.url} is told no more")


@webhooks.command("test")
def webhooks_test(context: typer.Context, webhook_id: WebhookId, as_json: Json = False) -> None:
    """Send a test message; pgd webhooks deliveries tells what became of it."""
    with Client(context.obj) as client:
        delivery = client.test_webhook(webhook_id)
    show_answer(delivery, as_json, delivery.id)


@webhooks.command("deliveries")
def webhooks_deliveries(
    context: typer.Context,
    webhook_id: WebhookId,
    state: Annotated[str | None, typer.Option(help="pending, delivered or failed.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=200)] = 50,
    as_json: Json = False,
) -> None:
    """Tell what was sent to a webhook and what became of it, newest first."""
    with Client(context.obj) as client:
        page = client.deliveries(webhook_id, state=state, limit=limit)
    if as_json:
        show_answer(page, as_json, "")
        return
    table = Table("when", "event", "job", "state", "tries", "HTTP", "why", box=None)
    for sent in page.items:
        when = f"{sent.created_at.astimezone():%Y-%m-%d %H:%M:%S}"
        numbers = (str(sent.tries), str(sent.status or ""), escape(sent.error))
        table.add_row(when, sent.kind, sent.job_id or "", sent.state, *numbers)
    out.print(table)
