"""What a study came to: a row for each setting, mean and spread over seeds, gains, gaps."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from pgd_core.jobs.study import REFERENCES, Cell

MAIN_METRIC = "AP"


@dataclass(frozen=True)
class Outcome:
    """What became of a cell, or of a teacher."""

    job: str | None  # its id; None where none was submitted
    state: str  # succeeded, or why there is a gap: failed, cancelled, not served, no teacher
    message: str = ""
    metrics: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class Run:
    """One seed of a row."""

    seed: int
    job: str | None
    state: str
    message: str
    ap: float | None  # percent
    gain_over: dict[str, float | None]  # AP over the reference of the same seed, in points


@dataclass(frozen=True)
class Row:
    """A setting under one teacher."""

    teacher: str
    setting: str
    method: str
    metrics: dict[str, dict[str, float]]  # by name: as `spread` gives them
    gain_over: dict[str, dict[str, float]]  # by reference: of the paired gains
    gaps: int  # seeds without a result
    runs: list[Run]


def study_table(
    cells: Sequence[Cell],
    outcomes: Mapping[str, Outcome],  # by the cell's key
    teachers: Mapping[str, Outcome],  # by the teacher's name
) -> dict[str, Any]:
    """The study's result as JSON. A gain is taken seed by seed, over the same seed's reference."""
    rows: dict[tuple[str, str], list[Cell]] = {}
    for cell in cells:
        rows.setdefault((cell.teacher, cell.row), []).append(cell)
    ordered = sorted(rows.values(), key=lambda row: _order(row[0], list(teachers)))
    return {
        "teachers": {name: _teacher(outcome) for name, outcome in teachers.items()},
        "rows": [asdict(_row(row, outcomes)) for row in ordered],
    }


def _order(cell: Cell, teachers: list[str]) -> tuple[int, bool]:
    """By teacher; references first, else as the matrices have it."""
    return teachers.index(cell.teacher), bool(cell.references)


def _teacher(outcome: Outcome) -> dict[str, Any]:
    return {
        "job": outcome.job,
        "state": outcome.state,
        "message": outcome.message,
        "metrics": numbers(outcome.metrics or {}),
    }


def _row(cells: Sequence[Cell], outcomes: Mapping[str, Outcome]) -> Row:
    runs = [_run(cell, outcomes) for cell in cells]
    found = [numbers(outcomes[cell.key].metrics or {}) for cell in cells]
    names = dict.fromkeys(name for metrics in found for name in metrics)
    kinds = dict.fromkeys(kind for run in runs for kind in run.gain_over)
    return Row(
        teacher=cells[0].teacher,
        setting=cells[0].row,
        method=cells[0].method,
        metrics={name: spread(m[name] for m in found if name in m) for name in names},
        gain_over={
            kind: spread(g for run in runs if (g := run.gain_over.get(kind)) is not None)
            for kind in kinds
        },
        gaps=sum(run.ap is None for run in runs),
        runs=runs,
    )


def _run(cell: Cell, outcomes: Mapping[str, Outcome]) -> Run:
    outcome = outcomes[cell.key]
    ap = _ap(outcome)
    gains: dict[str, float | None] = {}
    for kind in REFERENCES:
        if kind in cell.references:
            reference = _ap(outcomes[cell.references[kind]])
            gains[kind] = None if ap is None or reference is None else ap - reference
    return Run(cell.seed, outcome.job, outcome.state, outcome.message, ap, gains)


def _ap(outcome: Outcome) -> float | None:
    return numbers(outcome.metrics or {}).get(MAIN_METRIC)


def numbers(metrics: Mapping[str, Any]) -> dict[str, float]:
    """The metrics that are one number each."""
    return {
        name: float(value)
        for name, value in metrics.items()
        if isinstance(value, int | float) and not isinstance(value, bool)
    }


def spread(values: Iterable[float]) -> dict[str, float]:
    """Mean, number and, of two or more, standard deviation of the sample; empty for no values."""
    given = list(values)
    if not given:
        return {}
    found = {"mean": statistics.fmean(given), "n": float(len(given))}
    return {**found, "std": statistics.stdev(given)} if len(given) > 1 else found
