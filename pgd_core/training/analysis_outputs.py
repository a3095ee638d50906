"""The files of a job of kind `analyse`, kept in its work folder until they are published.

quality_heat.png       quality scores over pictures (Fig. 2)
strategy_masks.png     where each strategy would distil (Fig. 1)
hide_curve.png, .csv   AP without the best predictions (Fig. 3)
objects.png, .csv      how each object's quality is spread
"""

from __future__ import annotations

import csv
import math
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pgd_core.detectors.build import STRIDES
from pgd_core.evaluation.concentration import ObjectRow
from pgd_core.evaluation.curves import curve_picture
from pgd_core.evaluation.sheets import HeatRow, heat_sheet, spread_picture
from pgd_core.jobs.run import WORK_FOLDER

LEVELS = tuple(f"P{round(math.log2(stride))}" for stride in STRIDES)
SERIES = {"boxes": "of the positions inside objects' boxes", "picture": "of all positions"}

Curve = list[dict[str, Any]]  # a row for each share of hidden predictions


def analysis_files(folder: Path) -> list[Path]:
    """What an analysis left in an attempt's folder; nothing where there was none."""
    return sorted((folder / WORK_FOLDER / "analysis").glob("*"))


def write_analysis(
    folder: Path,  # of the attempt
    objects: list[ObjectRow],
    curves: Mapping[str, Curve],  # by what the shares are of; may be empty
    heats: list[HeatRow],
    masks: list[HeatRow],
) -> None:
    """Write the files, anew."""
    to = folder / WORK_FOLDER / "analysis"
    shutil.rmtree(to, ignore_errors=True)
    to.mkdir(parents=True)
    _write_csv(to / "objects.csv", [row.as_csv(LEVELS) for row in objects])
    spread_picture(objects, LEVELS, to / "objects.png")
    if curves:
        rows = [{"among": among, **row} for among, curve in curves.items() for row in curve]
        _write_csv(to / "hide_curve.csv", rows)
        _draw_curves(curves, to / "hide_curve.png")
    if heats:
        title = "Quality of the teacher's predictions: the greatest over levels and objects"
        heat_sheet(heats, to / "quality_heat.png", title=title, scale_title="quality q (Eq. 1)")
        title = "Where each strategy distils the classification branch: the greatest over levels"
        heat_sheet(masks, to / "strategy_masks.png", title=title, scale_title="importance I")


def _write_csv(path: Path, rows: list[dict[str, Any]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]) if rows else [])
        writer.writeheader()
        writer.writerows(rows)


def _draw_curves(curves: Mapping[str, Curve], path: Path) -> None:
    curve_picture(
        {
            SERIES[among]: [
                (row["percent"], math.nan if row["AP"] is None else row["AP"]) for row in curve
            ]
            for among, curve in curves.items()
        },
        path,
        title="AP when the best predictions by quality are hidden before NMS",
        x_label="hidden (%)",
        y_label="AP (%)",
        from_zero=True,
    )
