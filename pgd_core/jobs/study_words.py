"""A study's table in words: the cells that a terminal and a Markdown file show."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

MEASURED = ("AP", "AP50", "AP75", "AP_S", "AP_M", "AP_L", "MR", "JI")  # shown where measured
GAINS = {"plain": "over plain", "head_only": "over head-only"}


def words_of_study(
    table: Mapping[str, Any],  # of `study_table`
    measured: Sequence[str] = MEASURED,
) -> tuple[list[str], list[list[str]]]:
    """Heads of the columns, then rows: percent, as mean ± standard deviation over seeds."""
    rows = table["rows"]
    shown = [name for name in measured if any(name in row["metrics"] for row in rows)]
    gains = [kind for kind in GAINS if any(kind in row["gain_over"] for row in rows)]
    lines = []
    for name, teacher in table["teachers"].items():
        own = {key: {"mean": value} for key, value in teacher["metrics"].items()}
        found = [_spread(own.get(metric)) for metric in shown]
        lines.append([name, f"teacher ({teacher['state']})", *found, *[""] * len(gains), ""])
        for row in (row for row in rows if row["teacher"] == name):
            found = [_spread(row["metrics"].get(metric)) for metric in shown]
            over = [_spread(row["gain_over"].get(kind), sign="+") for kind in gains]
            lines.append([name, row["setting"], *found, *over, _seeds(row)])
    return ["teacher", "setting", *shown, *(GAINS[kind] for kind in gains), "seeds"], lines


def gaps_of_study(table: Mapping[str, Any]) -> list[str]:
    """A sentence for each student without a result."""
    return [
        f"{row['teacher']}, {row['setting']}, seed {run['seed']}: {run['state']}"
        + (f" ({' '.join(run['message'].split())[:200]})" if run["message"] else "")
        for row in table["rows"]
        for run in row["runs"]
        if run["ap"] is None
    ]


def _spread(found: Mapping[str, float] | None, sign: str = "") -> str:
    if not found:
        return "–"
    mean = f"{found['mean']:{sign}.1f}"
    return f"{mean} ± {found['std']:.1f}" if "std" in found else mean


def _seeds(row: Mapping[str, Any]) -> str:
    """How many seeds have a result, of how many."""
    asked = len(row["runs"])
    return f"{asked - row['gaps']} of {asked}" if row["gaps"] else str(asked)
