"""A study's table as files: JSON for programs, Markdown and CSV for people, a plot for the eye."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pgd_core.evaluation.curves import COLOURS
from pgd_core.jobs.study_words import GAINS, gaps_of_study, words_of_study


def write_report(table: Mapping[str, Any], folder: Path, title: str) -> None:
    """study.json, study.md, study.csv (a line for each student) and study.png in `folder`."""
    text = json.dumps(table, indent=2, ensure_ascii=False)
    (folder / "study.json").write_text(text, encoding="utf-8")
    (folder / "study.md").write_text(markdown(table, title), encoding="utf-8")
    _write_csv(table, folder / "study.csv")
    study_plot(table, folder / "study.png", title)


def markdown(table: Mapping[str, Any], title: str) -> str:
    """Percent, as mean ± standard deviation over seeds; gains are taken seed by seed."""
    heads, rows = words_of_study(table)
    lines = [_line(cells) for cells in (heads, _rule(len(heads)), *rows)]
    gaps = [f"- gap: {gap}" for gap in gaps_of_study(table)]
    return "\n".join([f"# {title}", "", *lines, "", *gaps])


def _rule(columns: int) -> list[str]:
    return ["---", "---", *["---:"] * (columns - 2)]


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


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
