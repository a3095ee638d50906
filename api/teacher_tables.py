"""Teachers on a terminal."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rich.markup import escape as escape_markup
from rich.table import Table

from api.schemas import TeacherView
from pgd_core.jobs.recognised import Recognised

_SHOWN = 12  # classes that are named; the rest is a number


def teachers_table(teachers: Iterable[TeacherView]) -> Table:
    """One teacher a row."""
    table = Table("id", "state", "classes", "detector", "name", box=None)
    for column in table.columns[:2]:
        column.no_wrap = True
    for each in teachers:
        classes = str(len(each.classes)) if each.classes else ""
        table.add_row(each.id, each.state, classes, _detector(each), escape(each.name))
    return table


def teacher_table(teacher: TeacherView) -> Table:
    """What is declared or confirmed of it, and where it comes from."""
    table = _of_two_columns()
    table.add_row("teacher", escape(teacher.name))
    table.add_row("state", teacher.state)
    if teacher.model:
        for row in _model_rows(teacher.model):
            table.add_row(*row)
    if teacher.classes:
        table.add_row("classes", classes_line(teacher.classes))
    if teacher.source_job:
        table.add_row("from job", teacher.source_job)
    if teacher.upload:
        table.add_row("from upload", teacher.upload)
    if teacher.sha256:
        table.add_row("sha256", teacher.sha256)
    return table


def recognised_table(found: Recognised) -> Table:
    """What was seen in the tensors."""
    table = _of_two_columns("recognised")
    table.add_row("detector", escape(found.detector))
    table.add_row("backbone", escape(found.backbone))
    sizes: dict[str, object] = {
        "depth": found.depth,
        "width": found.width,
        "neck width": found.neck_width,
        "head width": found.head_width,
        "head convolutions": found.head_convs,
        "norm groups": found.model.norm_groups if found.model else None,
    }
    for name, size in sizes.items():
        if size is not None:
            table.add_row(name, str(size))
    for part, kind in found.norms.items():
        table.add_row(f"norm of the {part}", escape(kind))
    table.add_row("classes", _classes_of(found))
    for note in found.notes:
        table.add_row("note", escape(note))
    return table


def printable(text: str) -> str:
    """The text without what would steer the terminal: some of it comes out of the file."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)


def classes_line(names: Sequence[str]) -> str:
    """How many, and the first of their names."""
    more = f", … ({len(names) - _SHOWN} more)" if len(names) > _SHOWN else ""
    return escape(f"{len(names)}: {', '.join(names[:_SHOWN])}{more}")


def escape(text: str) -> str:
    """As it is, in a table's cell."""
    return escape_markup(printable(text))


def _of_two_columns(title: str = "") -> Table:
    table = Table(title, "", box=None, show_header=bool(title))
    table.columns[0].no_wrap = True
    table.columns[1].overflow = "fold"
    return table


def _detector(teacher: TeacherView) -> str:
    """As it is declared or confirmed; else what it looks like."""
    model: Mapping[str, Any] = teacher.model
    if model:
        return f"{model['detector']} on {model['backbone']['name']}"
    found = teacher.recognised
    return escape(f"{found.detector} on {found.backbone}?") if found else ""


def _model_rows(model: Mapping[str, Any]) -> Iterable[tuple[str, str]]:
    backbone = model["backbone"]
    yield "detector", str(model["detector"])
    width = "" if backbone["width"] == 1 else f", width {backbone['width']}"
    yield "backbone", f"{backbone['name']}{width}"
    yield "head width", str(model["head_width"])
    yield "head convolutions", str(model["head_convs"])
    yield "norm groups", str(model["norm_groups"])


def _classes_of(found: Recognised) -> str:
    if found.class_names:
        return classes_line(found.class_names)
    return f"{found.classes}, without names" if found.classes else "none"
