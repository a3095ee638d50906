"""Models on a terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.markup import escape
from rich.table import Table

from api.comparison_views import ComparisonView
from api.model_views import FoundView, ModelView
from api.terminal import clock, close_table


def models_table(models: Sequence[ModelView]) -> Table:
    """One model a row, whole on 80 columns but for its name and tags."""
    heads = ("id", "model", "AP", "gain", "export", "created", "tags")
    table = close_table(heads, wrapped=("model", "tags"))
    for model in models:
        table.add_row(
            model.id,
            escape(f"{model.name} v{model.version}"),
            _number(model.metrics.get("AP"), "{:.1f}"),
            _number(model.gain.get("over_plain"), "{:+.1f}"),
            "yes" if model.export_job else "-",
            clock(model.created_at),
            escape(" ".join(model.tags)),
        )
    return table


def model_table(model: ModelView) -> Table:
    """What one model reaches and costs, and where it came from."""
    table = Table("", "", box=None, show_header=False)
    lineage = model.lineage
    for name, value in {
        "id": model.id,
        "model": f"{model.name} v{model.version}",
        "team": model.team,
        "tags": " ".join(model.tags),
        "notes": model.notes,
        "detector": _detector(model.detector),
        "metrics": _numbers(model.metrics, "{:.1f}"),
        "gain": _numbers(model.gain, "{:+.1f}"),
        "cost": _numbers(model.cost, "{:,.6g}"),
        "weights": f"{model.size} bytes, sha256 {model.sha256}",
        "job": model.job_id,
        "export": model.export_job or f"none; pgd export {model.id}",
        "teacher": _source(lineage.get("teacher")),
        "data set": _source(lineage.get("dataset")),
        "spec": f"sha256 {lineage.get('spec_sha256')}, seed {lineage.get('seed')}",
        "software": ", ".join(f"{k} {v}" for k, v in (lineage.get("versions") or {}).items()),
        "created": f"{model.created_at.astimezone():%Y-%m-%d %H:%M}",
    }.items():
        if value:
            table.add_row(name, escape(value))
    return table


def comparison_table(comparison: ComparisonView) -> Table:
    """A column for each model; classes one by one are left to JSON and CSV."""
    titles = (escape(f"{model.name} v{model.version}") for model in comparison.models)
    table = Table("", *titles)
    for column in table.columns[1:]:
        column.justify = "right"
    section = ""
    for row in comparison.rows:
        if row.section == "metrics" and "/" in row.field:
            continue
        if section and row.section != section:
            table.add_section()
        section = row.section
        form = "{:,.2f}" if section in ("metrics", "gain") else "{:,.6g}"  # 0.0008 is not 0.00
        cells = (escape(_number(value, form)) for value in row.values)
        table.add_row(escape(row.field), *cells)
    return table


def found_table(found: Sequence[FoundView]) -> Table:
    """What was found in a picture, best first."""
    table = Table("score", "class", "left", "top", "right", "bottom", box=None)
    for column in (table.columns[0], *table.columns[2:]):
        column.justify = "right"
    for each in found:
        box = (f"{side:.1f}" for side in each.box)
        table.add_row(f"{each.score:.3f}", escape(each.label), *box)
    return table


def _detector(detector: Mapping[str, Any]) -> str:
    backbone = detector.get("backbone") or {}
    width = backbone.get("width", 1)
    parts = [detector.get("detector"), backbone.get("name"), None if width == 1 else f"x{width:g}"]
    return " ".join(str(part) for part in parts if part)


def _source(source: Mapping[str, Any] | None) -> str:
    if not source:
        return ""
    return f"{source.get('name')} ({source.get('id')}, sha256 {source.get('sha256')})"


def _numbers(values: Mapping[str, Any], form: str) -> str:
    known = [(name, value) for name, value in values.items() if not isinstance(value, Mapping)]
    return ", ".join(f"{name} {_number(value, form)}" for name, value in known if value is not None)


def _number(value: object, form: str) -> str:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return f"{value:,}" if isinstance(value, int) else form.format(value)
    return "-" if value is None else str(value)
