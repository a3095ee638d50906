"""Models side by side: what they reach, cost and gain, and where their specs differ."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from pgd_core.jobs.models import Model

Cell = str | int | float | bool | None
Section = Literal["metrics", "gain", "cost", "spec"]
_NOT_COMPARED = {"/name"}  # of a spec: the title says it
_MOST_TEXT = 200  # of a cell


@dataclass(frozen=True)
class Row:
    """One thing about every model."""

    section: Section
    field: str  # a metric's name, or a JSON pointer into the spec
    values: tuple[Cell, ...]  # in the models' order; None where a model has none


@dataclass(frozen=True)
class Comparison:
    """A table with a column for each model."""

    rows: tuple[Row, ...]
    warnings: tuple[str, ...]  # why numbers of one row may not be compared


def compare(
    models: Sequence[Model],
    specs: Sequence[Mapping[str, Any]],  # of the jobs that made them
) -> Comparison:
    """The table; of the specs only what differs."""
    rows = [
        *_rows("metrics", [_flat(model.metrics) for model in models]),
        *_rows("gain", [_flat(model.gain) for model in models]),
        *_rows("cost", [{**_flat(m.cost), "/weights_bytes": m.size} for m in models]),
        *(row for row in _rows("spec", [_flat(spec) for spec in specs]) if _differs(row)),
    ]
    return Comparison(tuple(rows), tuple(_warnings(models)))


def _rows(section: Section, columns: Sequence[Mapping[str, Cell]]) -> list[Row]:
    """A row for each field that any column has, in the order in which they first come."""
    fields = dict.fromkeys(field for column in columns for field in column)
    return [
        Row(section, _named(section, field), tuple(column.get(field) for column in columns))
        for field in fields
    ]


def _named(section: Section, pointer: str) -> str:
    return pointer if section == "spec" else pointer.removeprefix("/")


def _differs(row: Row) -> bool:
    return len({json.dumps(value) for value in row.values}) > 1 and row.field not in _NOT_COMPARED


def _flat(value: Mapping[str, Any], pointer: str = "") -> dict[str, Cell]:
    """By JSON pointer, what is no mapping; a list is told as JSON."""
    found: dict[str, Cell] = {}
    for name, inner in value.items():
        here = f"{pointer}/{str(name).replace('~', '~0').replace('/', '~1')}"
        if isinstance(inner, Mapping):
            found |= _flat(inner, here)
        else:
            found[here] = _cell(inner)
    return found


def _cell(value: Any) -> Cell:
    if value is None or isinstance(value, bool | int | float):
        return value
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _MOST_TEXT else f"{text[: _MOST_TEXT - 1]}…"


def _warnings(models: Sequence[Model]) -> list[str]:
    found = []
    if len({_sha256_of_data(model) for model in models}) > 1:
        found.append("the models were measured on different data sets: their metrics say little")
    inputs = {(m.cost.get("input_height"), m.cost.get("input_width")) for m in models}
    if len(inputs) > 1:
        found.append("the costs are of inputs of different sizes")
    if len({model.cost.get("device") for model in models}) > 1:
        found.append("the latencies were measured on different devices")
    return found


def _sha256_of_data(model: Model) -> str:
    dataset = model.lineage.get("dataset") or {}
    return dataset.get("sha256") or model.dataset_id
