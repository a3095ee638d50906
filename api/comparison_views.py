"""Models side by side, as JSON and as CSV."""

from __future__ import annotations

import csv
import io
from typing import Annotated, Literal

from pydantic import BaseModel, Field, StringConstraints, field_validator

from api.requests import ID, QueryModel
from api.schemas import View
from pgd_core.jobs.comparing import Cell

# What a spreadsheet takes for the beginning of a formula.
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")


class CompareQuery(QueryModel):
    """Which models, and how they are told."""

    model: tuple[Annotated[str, StringConstraints(pattern=ID)], ...] = Field(
        min_length=2, max_length=10, description="Ids, in the order of the columns."
    )
    format: Literal["json", "csv"] | None = Field(None, description="Goes before Accept.")

    @field_validator("model")
    @classmethod
    def _each_once(cls, ids: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(ids)) != len(ids):
            raise ValueError("names a model twice")
        return ids


class ComparedModel(View):
    """A column."""

    id: str
    team: str
    name: str
    version: int
    kind: str
    job_id: str
    dataset_id: str


class RowView(View):
    """One thing about every model."""

    section: Literal["metrics", "gain", "cost", "spec"]
    field: str = Field(description="A metric's name, or a JSON pointer into the jobs' specs.")
    values: tuple[Cell, ...] = Field(description="In the columns' order; null: it has none.")


class ComparisonView(BaseModel):
    """A table with a column for each model."""

    models: list[ComparedModel]
    rows: list[RowView] = Field(description="Metrics, gain, cost, and what differs in the specs.")
    warnings: tuple[str, ...] = Field(description="Why some numbers may not be compared.")


def as_csv(comparison: ComparisonView) -> str:
    """The table; no cell is a formula, whatever a job is called."""
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    titles = [f"{model.name} v{model.version}" for model in comparison.models]
    writer.writerow(["section", "field", *map(_harmless, titles)])
    writer.writerow(["model", "id", *(_harmless(model.id) for model in comparison.models)])
    for row in comparison.rows:
        writer.writerow([row.section, _harmless(row.field), *map(_harmless, row.values)])
    for warning in comparison.warnings:
        writer.writerow(["warning", _harmless(warning), *[""] * len(comparison.models)])
    return text.getvalue()


def _harmless(cell: Cell) -> Cell:
    """Text that begins like a formula comes behind an apostrophe; numbers stay numbers."""
    return f"'{cell}" if isinstance(cell, str) and cell.startswith(_FORMULA) else cell
