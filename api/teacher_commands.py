"""`pgd teacher`: what is asked of teachers on the command line."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from api.client import ApiError, Client, PlacementOptions
from api.command_options import Gpus, Json, MinMemory, PoolName, Priority, TeamName
from api.library_commands import json_object, show_answer
from api.schemas import TeacherView
from api.teacher_tables import printable, recognised_table, teacher_table, teachers_table
from api.transfer_bar import transfer_bar
from pgd_core.jobs.job import CheckState

teacher = typer.Typer(no_args_is_help=True, help="Teachers.")
out = Console()
progress = Console(stderr=True)
_SHAPES: dict[str, type[dict[str, Any]] | type[list[str]]] = {"model": dict, "classes": list}
_JSON_WORD = {dict: "JSON object", list: "list of names"}
CHECK_S = 1200.0  # that a check may take, its turn included

TeacherId = Annotated[str, typer.Argument(help="The teacher's id.")]
Classes = Annotated[
    str | None, typer.Option(help="In the head's order: a,b,c, or a file with one a line.")
]
Declaration = Annotated[
    Path | None, typer.Option(help='JSON of {"model": …, "classes": […]}, or of one of them.')
]
Yes = Annotated[bool, typer.Option("--yes", help="Ask nothing.")]


@teacher.command("add")
def teacher_add(
    context: typer.Context,
    name: str,
    job: Annotated[str | None, typer.Option(help="From this train or distill job.")] = None,
    file: Annotated[Path | None, typer.Option(help="Or from this checkpoint.")] = None,
    declaration: Declaration = None,
    classes: Classes = None,
    yes: Annotated[bool, typer.Option("--yes", help="Confirm what is recognised.")] = False,
    wait: Annotated[bool, typer.Option(help="Wait for its check.")] = True,
    as_json: Json = False,
) -> None:
    """Register a teacher from a job, or from a checkpoint.

    What a checkpoint is need not be declared: it is recognised, shown, and asked to be confirmed.
    After waiting, the exit code is 0 only when the teacher is ready.
    """
    if (job is None) == (file is None):
        raise typer.BadParameter("give --job or --file, one of the two")
    if job is not None and (declaration or classes):
        raise typer.BadParameter("a teacher from a job takes model and classes from the job")
    said = _said(declaration, classes)
    with Client(context.obj) as client:
        if job is not None:
            added = client.add_teacher_from_job(name, job)
        else:
            assert file is not None
            added = _send(client, name, file, said)
        if wait:
            with progress.status(f"checking {added.id}: reading, recognising, converting"):
                added = client.wait_for_teacher(added.id, timeout_s=CHECK_S)
        if added.state is CheckState.UNCONFIRMED:
            added = _confirmed(client, added, yes, as_json)
    show_answer(added, as_json, f"{added.id} {added.state}")
    if wait:
        _exit_unless_ready(added)


@teacher.command("show")
def teacher_show(context: typer.Context, teacher_id: TeacherId, as_json: Json = False) -> None:
    """Show a teacher, and what it was recognised as."""
    with Client(context.obj) as client:
        found = client.teacher(teacher_id)
    if as_json:
        show_answer(found, as_json, "")
        return
    out.print(teacher_table(found))
    if found.recognised:
        out.print(recognised_table(found.recognised))
    if found.message:
        out.print(printable(found.message), highlight=False, markup=False)
    if found.state is CheckState.UNCONFIRMED:
        typer.echo(_how_to_confirm(found))


@teacher.command("ls")
def teacher_ls(context: typer.Context, as_json: Json = False) -> None:
    """List teachers."""
    with Client(context.obj) as client:
        page = client.teachers(limit=200)
    if as_json:
        show_answer(page, as_json, "")
    else:
        out.print(teachers_table(page.items))


@teacher.command("confirm")
def teacher_confirm(
    context: typer.Context,
    teacher_id: TeacherId,
    declaration: Declaration = None,
    classes: Classes = None,
    as_json: Json = False,
) -> None:
    """Confirm what a teacher was recognised as, but for what is said here."""
    said = _said(declaration, classes)
    with Client(context.obj) as client:
        done = client.confirm_teacher(teacher_id, **said)
    show_answer(done, as_json, f"{done.id} {done.state}")


@teacher.command("evaluate")
def teacher_evaluate(
    context: typer.Context,
    teacher_id: TeacherId,
    dataset: Annotated[str, typer.Argument(help="The data set's id.")],
    name: Annotated[str, typer.Option(help="Of the job.")] = "",
    key: Annotated[str | None, typer.Option(help="Idempotency key.")] = None,
    team: TeamName = None,
    pool: PoolName = None,
    priority: Priority = None,
    gpus: Gpus = None,
    min_memory_mb: MinMemory = None,
    as_json: Json = False,
) -> None:
    """Queue a job that measures it on a data set's validation pictures."""
    placement: PlacementOptions = {
        "team": team,
        "pool": pool,
        "priority": priority,
        "gpus": gpus,
        "min_memory_mb": min_memory_mb,
    }
    settings = {"name": name} if name else {}
    with Client(context.obj) as client:
        job = client.evaluate_teacher(
            teacher_id, dataset, settings, idempotency_key=key, **placement
        )
    show_answer(job, as_json, job.id)


@teacher.command("rm")
def teacher_rm(
    context: typer.Context, teacher_id: TeacherId, yes: Yes = False, as_json: Json = False
) -> None:
    """Delete a teacher and its weights."""
    with Client(context.obj) as client:
        found = client.teacher(teacher_id)
        if not yes and not _agreed(f"Delete teacher {found.name!r} and its weights?"):
            typer.echo("pgd: nothing was deleted", err=True)
            raise typer.Exit(1)
        client.delete_teacher(teacher_id)
    deleted = {"id": teacher_id, "deleted": True}
    typer.echo(json.dumps(deleted) if as_json else f"{teacher_id} deleted")


def class_names(text: str) -> list[str]:
    """The lines of the file of that name, or else what stands between the commas."""
    with suppress(OSError):  # such as a list that is too long for a name
        if Path(text).is_file():
            lines = Path(text).read_text(encoding="utf-8").splitlines()
            return [line.strip() for line in lines if line.strip()]
    return [name.strip() for name in text.split(",") if name.strip()]


def _said(declaration: Path | None, classes: str | None) -> dict[str, Any]:
    """`model` and `classes`, as far as they are given."""
    said: dict[str, Any] = {}
    if declaration is not None:
        said = json_object(declaration.read_text(encoding="utf-8"), str(declaration))
        if strange := sorted(said.keys() - _SHAPES.keys()):
            raise typer.BadParameter(
                f"{declaration} says {', '.join(strange)}; it may say model and classes"
            )
        for part, shape in _SHAPES.items():
            if not isinstance(said.get(part, shape()), shape):
                raise typer.BadParameter(f"{part} of {declaration} is no {_JSON_WORD[shape]}")
    if classes is not None:
        said["classes"] = class_names(classes)
    return said


def _send(client: Client, name: str, file: Path, said: dict[str, Any]) -> TeacherView:
    with transfer_bar(file.name) as told:
        upload = client.upload(file, told)
    return client.add_teacher_from_upload(name, upload.id, **said)


def _confirmed(client: Client, added: TeacherView, yes: bool, as_json: bool) -> TeacherView:
    """The teacher after its owner was asked; as it was where they do not agree."""
    found = added.recognised
    classes = None
    if not as_json and found:
        out.print(recognised_table(found))
    if not yes:
        if as_json or not _agreed("Is that your teacher?"):
            return added
        if found and not (added.classes or found.class_names):
            asked = f"Names of its {found.classes} classes, in the head's order (a,b,c, or a file)"
            classes = class_names(typer.prompt(asked, err=True))
    try:
        return client.confirm_teacher(added.id, classes=classes)
    except ApiError:
        typer.echo(f"pgd: {_how_to_confirm(added)}", err=True)
        raise


def _agreed(question: str) -> bool:
    """Nobody who could answer has not agreed."""
    try:
        return typer.confirm(question, err=True)
    except typer.Abort:
        typer.echo("", err=True)
        return False


def _exit_unless_ready(added: TeacherView) -> None:
    if added.state is CheckState.READY:
        return
    why = (
        _how_to_confirm(added)
        if added.state is CheckState.UNCONFIRMED
        else printable(added.message)
    )
    typer.echo(f"pgd: {why}", err=True)
    raise typer.Exit(1)


def _how_to_confirm(added: TeacherView) -> str:
    named = added.classes or (added.recognised and added.recognised.class_names)
    names = "" if named else " --classes a,b,c"
    return f"no job can use it before it is confirmed: pgd teacher confirm {added.id}{names}"
