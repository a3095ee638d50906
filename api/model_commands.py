"""`pgd models`, `pgd model`, `pgd compare`, `pgd export` and `pgd predict`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from api import terminal
from api.client import Client
from api.command_options import Json, PoolName, Priority
from api.library_commands import show_answer
from api.model_terminal import comparison_table, found_table, model_table, models_table

commands = typer.Typer()
one = typer.Typer(no_args_is_help=True, help="One model: see `pgd models`.")
commands.add_typer(one, name="model")
out, err = Console(), Console(stderr=True)

ModelOrJob = Annotated[
    str, typer.Argument(metavar="MODEL", help="A model's id, or that of the job that made it.")
]


@commands.command()
def models(
    context: typer.Context,
    name: Annotated[str | None, typer.Option(help="Every version of this name.")] = None,
    tag: Annotated[str | None, typer.Option(help="With this tag.")] = None,
    dataset: Annotated[str | None, typer.Option(help="Trained on this data set.")] = None,
    team: Annotated[str | None, typer.Option(help="Whose. [default: all you may see]")] = None,
    limit: Annotated[int, typer.Option(min=1, max=200)] = 20,
    as_json: Json = False,
) -> None:
    """List models, newest first: what every succeeded train or distill job made."""
    with Client(context.obj) as client:
        page = client.models(name=name, tag=tag, dataset=dataset, team=team, limit=limit)
    if as_json:
        show_answer(page, as_json, "")
    else:
        out.print(models_table(page.items))


@one.command("show")
def model_show(context: typer.Context, model: ModelOrJob, as_json: Json = False) -> None:
    """Show what a model reaches, what it costs, what it was made from."""
    with Client(context.obj) as client:
        found = client.find_model(model)
    if as_json:
        show_answer(found, as_json, "")
    else:
        out.print(model_table(found))


@one.command("tag")
def model_tag(
    context: typer.Context,
    model: ModelOrJob,
    tags: Annotated[list[str] | None, typer.Argument(help="Small words to add.")] = None,
    remove: Annotated[
        list[str] | None, typer.Option("--remove", "-r", help="A tag to take away.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Give a model tags, or take them away."""
    if not (tags or remove):
        raise typer.BadParameter("name tags to add, or --remove one")
    with Client(context.obj) as client:
        found = client.find_model(model)
        found = client.change_model(found.id, add_tags=tags or (), remove_tags=remove or ())
    show_answer(found, as_json, " ".join(found.tags) or "no tags")


@one.command("note")
def model_note(
    context: typer.Context,
    model: ModelOrJob,
    notes: Annotated[str, typer.Argument(help='In the place of those before; "" for none.')],
    as_json: Json = False,
) -> None:
    """Note something about a model."""
    with Client(context.obj) as client:
        found = client.change_model(client.find_model(model).id, notes=notes)
    show_answer(found, as_json, found.notes or "no notes")


@one.command("unregister")
def model_unregister(context: typer.Context, model: ModelOrJob, as_json: Json = False) -> None:
    """Take a model off the list for good; its job keeps its files."""
    with Client(context.obj) as client:
        found = client.find_model(model)
        client.unregister_model(found.id)
    said = f"{found.name} v{found.version} is no model any more; job {found.job_id} has it"
    show_answer(found, as_json, said)


@commands.command()
def compare(
    context: typer.Context,
    models: Annotated[list[str], typer.Argument(help="Two to ten ids of models or jobs.")],
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV.")] = False,
    as_json: Json = False,
) -> None:
    """Put models side by side: metrics, gain, cost, and where their specs differ."""
    if as_csv and as_json:
        raise typer.BadParameter("choose --csv or --json")
    with Client(context.obj) as client:
        ids = [client.find_model(model).id for model in models]
        if as_csv:
            typer.echo(client.compare_as_csv(ids), nl=False)
            return
        comparison = client.compare(ids)
    if as_json:
        show_answer(comparison, as_json, "")
        return
    out.print(comparison_table(comparison))
    for warning in comparison.warnings:
        typer.echo(f"pgd: {warning}", err=True)


@commands.command()
def export(
    context: typer.Context,
    model: ModelOrJob,
    wait: Annotated[bool, typer.Option(help="Follow the job to its end.")] = False,
    pool: PoolName = None,
    priority: Priority = None,
    as_json: Json = False,
) -> None:
    """Queue the job that writes a model as ONNX and compares that with torch."""
    with Client(context.obj) as client:
        found = client.find_model(model)
        job = client.export_model(found.id, pool=pool, priority=priority)
        if wait:
            typer.echo(f"pgd: job {job.id}", err=True)
            job = terminal.follow(client, job.id, err, job.id[-8:])
    show_answer(job, as_json, f"{job.id} {job.state}" if wait else job.id)
    if wait and job.state != "succeeded":
        typer.echo(f"pgd: {job.message}", err=True)
        raise typer.Exit(1)


@commands.command()
def predict(
    context: typer.Context,
    model: ModelOrJob,
    picture: Annotated[Path, typer.Argument(help="JPEG or PNG.", exists=True, dir_okay=False)],
    to: Annotated[
        Path | None, typer.Option("--out", help="Write the picture with its boxes here, as PNG.")
    ] = None,
    threshold: Annotated[float, typer.Option(min=0, max=1, help="Least score.")] = 0.3,
    as_json: Json = False,
) -> None:
    """Show what a model finds in a picture; it needs an export (`pgd export`)."""
    content = picture.read_bytes()
    with Client(context.obj) as client:
        found = client.find_model(model)
        prediction = client.predict(found.id, content, score_threshold=threshold)
        if to is not None:
            to.write_bytes(client.draw(found.id, content, score_threshold=threshold))
    if as_json:
        show_answer(prediction, as_json, "")
    elif prediction.found:
        out.print(found_table(prediction.found))
    else:
        typer.echo(f"nothing of at least {threshold:g} was found")
    if to is not None:
        typer.echo(f"pgd: drawn into {to}", err=True)
