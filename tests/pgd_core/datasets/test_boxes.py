from __future__ import annotations

import json
from typing import Any

import pytest

from pgd_core.datasets.boxes import ImageRow, checked_area, checked_box, size_name
from pgd_core.datasets.report import Code, Findings

IMAGE = ImageRow(10, "train:/images/0", "a.png", width=200, height=100)


def _faults(change: dict[str, Any]) -> dict[Code, tuple[int, str, str]]:
    """(count, pointer, message) by code of a good row with one change."""
    findings = Findings()
    row = {"bbox": [0, 0, 20, 20], "area": 400, **change}
    box = checked_box("train:/annotations/0", row, IMAGE, findings)
    checked_area("train:/annotations/0", row, box, findings)
    found = (*findings.errors(), *findings.warnings())
    return {each.code: (each.count, each.pointer, each.message) for each in found}


def test_a_good_box_and_area_are_given_without_a_finding() -> None:
    findings = Findings()
    row = {"bbox": [1, 2.5, 20, 20], "area": 300}
    box = checked_box("p", row, IMAGE, findings)
    assert box == (1, 2.5, 20, 20)
    assert checked_area("p", row, box, findings) == 300
    assert not findings.errors()
    assert not findings.warnings()


def test_a_box_without_a_known_image_is_checked_by_itself() -> None:
    findings = Findings()
    assert checked_box("p", {"bbox": [900, 0, 20, 20]}, None, findings) == (900, 0, 20, 20)


@pytest.mark.parametrize(
    ("area", "size"),
    [(1, "small"), (1023, "small"), (1024, "medium"), (9215, "medium"), (9216, "large")],
)
def test_sizes_follow_cocos_bounds(area: float, size: str) -> None:
    assert size_name(area) == size


@pytest.mark.parametrize(
    "box",
    [
        None,
        [],
        [0, 0, 5],
        [0, 0, 5, 5, 5],
        {"x": 0},
        "0 0 5 5",
        [0, 0, True, 5],
        [0, 0, "5", 5],
        [0, 0, None, 5],
        [0, 0, [5], 5],
        [0, 0, 0, 5],
        [0, 0, 5, -1],
        [0, 0, float("inf"), 5],
        [float("nan"), 0, 5, 5],
        [0, 0, 10**400, 5],
    ],
)
def test_a_box_that_is_none_is_an_error(box: object) -> None:
    faults = _faults({"bbox": box})
    assert faults[Code.BAD_BOX][:2] == (1, "train:/annotations/0/bbox")


@pytest.mark.parametrize(
    ("box", "code"),
    [
        ([180, 80, 20, 20], None),  # touches the border from inside
        ([180, 80, 20.005, 20], None),  # rounding
        ([-0.5, 0, 20, 20], Code.BOX_SLIGHTLY_OUTSIDE),
        ([181, 80, 20, 20], Code.BOX_SLIGHTLY_OUTSIDE),  # one pixel: counted from 1
        ([182, 80, 20, 20], Code.BOX_PARTLY_OUTSIDE),
        ([0, -19, 20, 20], Code.BOX_PARTLY_OUTSIDE),
        ([200, 0, 20, 20], Code.BOX_OUTSIDE),
        ([0, 100, 20, 20], Code.BOX_OUTSIDE),
        ([-20, 0, 20, 20], Code.BOX_OUTSIDE),
        ([0, -1e300, 20, 20], Code.BOX_OUTSIDE),
        ([0, 0, 1e308, 1e308], Code.BOX_PARTLY_OUTSIDE),
    ],
)
def test_a_box_beyond_its_image_is_reported_by_how_far(box: list[float], code: Code | None) -> None:
    faults = _faults({"bbox": box})
    boxes = {each for each in faults if each.value.startswith("box_")}
    assert boxes == ({code} if code else set())
    if code in (Code.BOX_SLIGHTLY_OUTSIDE, Code.BOX_PARTLY_OUTSIDE):
        assert "will be clipped" in faults[code][2]


def test_a_box_under_one_pixel_is_a_warning() -> None:
    faults = _faults({"bbox": [0, 0, 0.5, 5]})
    assert set(faults) == {Code.BOX_UNDER_ONE_PIXEL}


def test_a_missing_area_is_a_warning_and_the_box_gives_the_size() -> None:
    findings = Findings()
    assert checked_area("p", {}, (0, 0, 10, 20), findings) == 200
    assert [each.code for each in findings.warnings()] == [Code.AREA_MISSING]


def test_an_area_that_is_not_positive_is_a_warning_and_one_that_is_no_number_an_error() -> None:
    assert set(_faults({"area": 0})) == {Code.AREA_NOT_POSITIVE}
    for value in ("9", True, float("inf"), None):
        faults = _faults({"area": value})
        assert faults[Code.WRONG_FIELD][1] == "train:/annotations/0/area"


def test_what_a_parser_yields_for_an_overflowing_number_is_refused() -> None:
    huge = json.loads("[0, 0, 1e999, 5]")
    assert Code.BAD_BOX in _faults({"bbox": huge})
