from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pgd_core.evaluation.concentration import ObjectRow
from pgd_core.evaluation.sheets import HeatRow, heat_sheet, spread_picture


def _row(height: int, width: int, heat: float, *titles: str) -> HeatRow:
    return HeatRow(
        image=np.full((height, width, 3), 128, np.uint8),
        boxes=np.array([[10.0, 10, 30, 30]]) if heat else np.zeros((0, 4)),
        caption="image 1",
        columns={title: np.full((height, width), heat, np.float32) for title in titles},
    )


def _size(path: Path) -> tuple[int, int]:
    with Image.open(path) as picture:
        assert picture.format == "PNG"
        return picture.size


def test_a_sheet_grows_with_its_rows_and_columns(tmp_path: Path) -> None:
    rows = [_row(40, 60, 0.5, "a"), _row(60, 40, 0.0, "a")]
    heat_sheet(rows[:1], tmp_path / "one.png", title="t", scale_title="q")
    heat_sheet(rows, tmp_path / "two.png", title="t", scale_title="q")
    heat_sheet([_row(40, 60, 1.0, "a", "b", "c")], tmp_path / "wide.png", title="t", scale_title="")
    one, two, wide = (_size(tmp_path / f"{name}.png") for name in ("one", "two", "wide"))
    assert two[0] == one[0] < wide[0]
    assert two[1] > one[1] == wide[1]


def test_rows_of_different_columns_are_refused(tmp_path: Path) -> None:
    rows = [_row(8, 8, 0.1, "a"), _row(8, 8, 0.1, "b")]
    with pytest.raises(AssertionError, match="different columns"):
        heat_sheet(rows, tmp_path / "sheet.png", title="", scale_title="")


@pytest.mark.parametrize("count", [0, 1, 40])
def test_histograms_are_drawn_of_any_number_of_objects(tmp_path: Path, count: int) -> None:
    rows = [
        ObjectRow(
            image_id=1,
            class_name="cat",
            box=(0.0, 0.0, 10.0 * index, 10.0),
            branch=branch,
            positions=100,
            mass=float(index > 0),
            half_mass_positions=3.0 * index if index else math.nan,
            half_mass_share=0.1,
            centre_distance=1.0,
            centre_distance_relative=0.0,
            level_shares=(0.5, 0.5),
        )
        for index in range(count)
        for branch in ("cls", "reg")
    ]
    spread_picture(rows, ("P3", "P4"), tmp_path / "objects.png")
    assert _size(tmp_path / "objects.png") == (1320, 840)
