from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pgd_core.evaluation.curves import curve_picture


def _colours(path: Path) -> int:
    with Image.open(path) as picture:
        return len(np.unique(np.asarray(picture.convert("RGB")).reshape(-1, 3), axis=0))


def test_each_series_is_a_line_of_its_own_colour(tmp_path: Path) -> None:
    one = {"teacher": [(1, 20.0), (2, 30.0)]}
    two = one | {"plain": [(1, 10.0), (2, 15.0)]}
    curve_picture(one, tmp_path / "one.png", title="AP", y_label="AP (%)")
    curve_picture(two, tmp_path / "two.png", title="AP", y_label="AP (%)")
    assert _colours(tmp_path / "two.png") > _colours(tmp_path / "one.png")


@pytest.mark.parametrize(
    "series",
    [
        {},
        {"loss": []},
        {"loss": [(1, 0.5)]},
        {"loss": [(1, 0.5), (2, math.nan), (3, 0.4)]},
        {"loss": [(step, 1 / (step + 1)) for step in range(500)]},
        {f"series {index}": [(0, index), (1, index)] for index in range(12)},
    ],
    ids=["no series", "no points", "one point", "a hole", "many points", "many series"],
)
def test_odd_series_are_drawn_without_a_warning(
    tmp_path: Path, series: dict[str, list[tuple[float, float]]]
) -> None:
    curve_picture(series, tmp_path / "curve.png")
    assert _colours(tmp_path / "curve.png") > 1


def test_a_curve_can_start_at_zero(tmp_path: Path) -> None:
    series = {"AP": [(0.0, 40.0), (1.0, 39.0)]}
    curve_picture(series, tmp_path / "own.png")
    curve_picture(series, tmp_path / "zero.png", from_zero=True)
    assert (tmp_path / "own.png").read_bytes() != (tmp_path / "zero.png").read_bytes()
