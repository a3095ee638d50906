"""A study's table as files: JSON for programs, Markdown and CSV for people, a plot for the eye."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pgd_core.evaluation.curves import COLOURS

COLUMNS = ("AP", "AP50", "AP75", "AP_S", "AP_M", "AP_L", "MR", "JI")  # shown where measured
GAINS = {"plain": "over plain", "head_only": "over head-only"}


def write_report(table: Mapping[str, Any], folder: Path, title: str) -> None:
    """study.json, study.md, study.csv (a line for each student) and study.png in `folder`."""
    text = json.dumps(table, indent=2, ensure_ascii=False)
    (folder / "study.json").write_text(text, encoding="utf-8")
    (folder / "study.md").write_text(markdown(table, title), encoding="utf-8")
    _write_csv(table, folder / "study.csv")
    study_plot(table, folder / "study.png", title)


def markdown(table: Mapping[str, Any], title: str) -> str:
    """Percent, as mean ± standard deviation over seeds; gains are taken seed by seed."""
    rows = table["rows"]
    measured = [name for name in COLUMNS if any(name in row["metrics"] for row in rows)]
    gains = [kind for kind in GAINS if any(kind in row["gain_over"] for row in rows)]
    head = ["teacher", "setting", *measured, *(GAINS[kind] for kind in gains), "seeds"]
    lines = [f"# {title}", "", _line(head), _line(["---", "---", *["---:"] * (len(head) - 2)])]
    for name, teacher in table["teachers"].items():
        found = [_one(teacher["metrics"].get(column)) for column in measured]
        lines.append(_line([name, f"teacher ({teacher['state']})", *found, *[""] * len(gains), ""]))
        for row in (row for row in rows if row["teacher"] == name):
            lines.append(
                _line(
                    [
                        name,
                        row["setting"],
                        *(_spread(row["metrics"].get(column)) for column in measured),
                        *(_spread(row["gain_over"].get(kind), sign=True) for kind in gains),
                        _seeds(row),
                    ]
                )
            )
    return "\n".join([*lines, "", *_gaps(rows)])


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _one(value: float | None) -> str:
    return "–" if value is None else f"{value:.1f}"


def _spread(found: Mapping[str, float] | None, *, sign: bool = False) -> str:
    if not found:
        return "–"
    mean = f"{found['mean']:{'+' if sign else ''}.1f}"
    return f"{mean} ± {found['std']:.1f}" if "std" in found else mean


def _seeds(row: Mapping[str, Any]) -> str:
    """How many seeds have a result, of how many."""
    asked = len(row["runs"])
    return f"{asked - row['gaps']} of {asked}" if row["gaps"] else f"{asked}"


def _gaps(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """A line for each student without a result."""
    lines = []
    for row in rows:
        for run in row["runs"]:
            if run["ap"] is None:
                told = " ".join(run["message"].split())[:200]
                where = f"{row['teacher']}, {row['setting']}, seed {run['seed']}"
                lines.append(f"- gap: {where}: {run['state']}{f' ({told})' if told else ''}")
    return [*lines, ""] if lines else []


def _write_csv(table: Mapping[str, Any], path: Path) -> None:
    fields = ("teacher", "setting", "method", "seed", "state", "job", "ap")
    gains = [f"gain_over_{kind}" for kind in GAINS]
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow([*fields, *gains, "message"])
        for row in table["rows"]:
            shared = [_as_text(row[name]) for name in ("teacher", "setting", "method")]
            for run in row["runs"]:
                own = [run["seed"], run["state"], run["job"], run["ap"]]
                over = [run["gain_over"].get(kind) for kind in GAINS]
                writer.writerow([*shared, *own, *over, _as_text(run["message"])])


def _as_text(value: str) -> str:
    """So that a spreadsheet does not take a name for a formula."""
    return f"'{value}" if value[:1] in ("=", "+", "-", "@") else value


def study_plot(table: Mapping[str, Any], path: Path, title: str) -> None:
    """AP of every setting: a panel for each teacher, a dot for each seed, a bar to the mean, and
    a line at the teacher's own AP."""
    from matplotlib.figure import Figure  # slow to import; without pyplot there is no window

    groups = [
        (name, [row for row in table["rows"] if row["teacher"] == name])
        for name in table["teachers"]
    ]
    shown = [(name, rows) for name, rows in groups if rows]
    heights = [len(rows) for _, rows in shown]
    figure = Figure(figsize=(8, 1.2 + 0.34 * sum(heights) + 0.6 * len(shown)), dpi=120)
    figure.set_layout_engine("constrained")
    figure.suptitle(title)
    panels = figure.subplots(
        len(shown), 1, squeeze=False, sharex=True, gridspec_kw={"height_ratios": heights}
    )
    for axes, (name, rows) in zip(panels[:, 0], shown, strict=True):
        _panel(axes, name, rows, table["teachers"][name]["metrics"].get("AP"))
    panels[-1, 0].set_xlabel("AP, percent")
    figure.savefig(path, format="png", metadata={"Software": None})


def _panel(
    axes: Any, name: str, rows: Sequence[Mapping[str, Any]], teacher_ap: float | None
) -> None:
    for place, row in enumerate(rows):
        colour = COLOURS[1] if row["method"] == "pgd" else COLOURS[0]
        if "AP" in row["metrics"]:
            axes.barh(place, row["metrics"]["AP"]["mean"], color=colour, alpha=0.35, height=0.7)
        found = [run["ap"] for run in row["runs"] if run["ap"] is not None]
        axes.plot(found, [place] * len(found), "o", color=colour, markersize=4)
        if row["gaps"]:
            axes.text(0.3, place, f"{row['gaps']} without a result", va="center", fontsize=7)
    if teacher_ap is not None:
        axes.axvline(teacher_ap, color="#000000", linewidth=1, linestyle="--")
    axes.set_yticks(range(len(rows)), [row["setting"] for row in rows], fontsize=8)
    axes.invert_yaxis()
    axes.set_title(name, loc="left", fontsize=9)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="x", alpha=0.25)
