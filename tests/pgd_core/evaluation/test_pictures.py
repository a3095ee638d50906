from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pgd_core.evaluation.detections import Detections
from pgd_core.evaluation.pictures import (
    MISSED,
    PANEL_WIDTH,
    RIGHT,
    TRUTH,
    WRONG,
    ComparisonRow,
    comparison_picture,
    draw_boxes,
    matches,
)

Row = tuple[tuple[float, float, float, float], float, int]  # XYXY, score, category id
NAMES = {1: "cat", 2: "dog"}


def _detections(*rows: Row) -> Detections:
    return Detections(
        1,
        np.array([row[0] for row in rows], np.float64).reshape(-1, 4),
        np.array([row[1] for row in rows], np.float64),
        np.array([row[2] for row in rows], np.int64),
    )


def _grey(width: int = 100, height: int = 80) -> Image.Image:
    return Image.new("RGB", (width, height), (128, 128, 128))


def _has(picture: Image.Image, colour: tuple[int, int, int]) -> bool:
    return bool((np.asarray(picture) == colour).all(-1).any())


def test_a_box_is_drawn_on_its_own_pixels() -> None:
    boxes = np.array([[10.0, 20, 40, 60]])
    pixels = np.asarray(draw_boxes(_grey(), boxes, [""], None, RIGHT))
    ys, xs = np.nonzero((pixels == RIGHT).all(-1))
    assert (xs.min(), ys.min(), xs.max(), ys.max()) == (10, 20, 39, 59)
    assert tuple(pixels[40, 25]) == (128, 128, 128)


def test_a_scaled_picture_has_scaled_boxes_and_the_original_stays() -> None:
    image = _grey()
    boxes = np.array([[10.0, 20, 40, 60]])
    picture = draw_boxes(image, boxes, [""], None, RIGHT, scale=3)
    ys, xs = np.nonzero((np.asarray(picture) == RIGHT).all(-1))
    assert picture.size == (300, 240)
    assert (xs.min(), ys.min(), xs.max(), ys.max()) == (30, 60, 119, 179)
    assert not _has(image, RIGHT)


def test_a_dashed_box_has_holes() -> None:
    boxes = np.array([[10.0, 20, 90, 70]])
    whole, dashed = (
        (np.asarray(draw_boxes(_grey(), boxes, [""], None, MISSED, dashed=d)) == MISSED).all(-1)
        for d in (False, True)
    )
    assert 0 < dashed.sum() < 0.8 * whole.sum()
    assert not (dashed & ~whole).any()


@pytest.mark.parametrize(
    "box",
    [(0, 0, 100, 80), (95, 75, 100, 80), (-50, -50, 400, 400), (30, 30, 30, 30), (90, 0, 99, 5)],
)
def test_a_label_stays_inside_the_picture(box: tuple[float, float, float, float]) -> None:
    picture = draw_boxes(_grey(), np.array([box]), ["dog"], np.array([0.75]), RIGHT)
    patch = (np.asarray(picture) == RIGHT).all(-1)
    assert picture.size == (100, 80)
    assert patch.sum() > 300  # the patch behind the text, not only an outline


@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "1"])
def test_pictures_of_other_modes_are_drawn_in_colour(mode: str) -> None:
    picture = draw_boxes(_grey().convert(mode), np.array([[1.0, 1, 50, 50]]), [""], None, RIGHT)
    assert picture.mode == "RGB"
    assert _has(picture, RIGHT)


def test_no_boxes_leave_the_picture_as_it_is() -> None:
    picture = draw_boxes(_grey(), np.zeros((0, 4)), [], np.zeros(0), RIGHT)
    assert picture.tobytes() == _grey().tobytes()


def test_the_best_detection_meets_an_object_and_the_second_is_wrong() -> None:
    truth = _detections(((0, 0, 10, 10), 1, 1))
    found = _detections(((0, 0, 10, 9), 0.9, 1), ((0, 0, 10, 10), 0.8, 1))
    right, met = matches(truth, found)
    assert right.tolist() == [True, False]
    assert met.tolist() == [True]


def test_a_detection_of_another_class_or_half_beside_is_wrong() -> None:
    truth = _detections(((0, 0, 10, 10), 1, 1))
    found = _detections(((0, 0, 10, 10), 0.9, 2), ((0, 0, 10, 4.9), 0.8, 1))
    right, met = matches(truth, found)
    assert right.tolist() == [False, False]
    assert met.tolist() == [False]


def test_a_detection_takes_the_free_object_it_covers_most() -> None:
    truth = _detections(((0, 0, 10, 10), 1, 1), ((2, 0, 12, 10), 1, 1))
    found = _detections(((2, 0, 12, 10), 0.9, 1), ((2, 0, 12, 10), 0.8, 1))
    right, met = matches(truth, found)
    assert right.tolist() == [True, True]  # the second takes what is left: IoU 2/3
    assert met.tolist() == [True, True]


@pytest.mark.parametrize("empty", ["truth", "found", "both"])
def test_nothing_to_match_is_no_match(empty: str) -> None:
    one, none = _detections(((0, 0, 10, 10), 1, 1)), _detections()
    truth = none if empty in ("truth", "both") else one
    found = none if empty in ("found", "both") else one
    right, met = matches(truth, found)
    assert right.sum() == met.sum() == 0
    assert (len(right), len(met)) == (len(found.scores), len(truth.scores))


def test_a_sheet_shows_right_wrong_and_missed_beside_the_truth(tmp_path: Path) -> None:
    truth = _detections(((10, 20, 40, 60), 1, 1), ((50, 20, 90, 60), 1, 2))
    teacher = _detections(((10, 20, 40, 60), 0.9, 1), ((50, 20, 90, 60), 0.9, 2))
    plain = _detections(((10, 20, 40, 60), 0.9, 2), ((50, 20, 90, 60), 0.2, 2))
    rows = [ComparisonRow(_grey(), truth, {"teacher": teacher, "plain": plain})] * 2
    comparison_picture(rows, NAMES, tmp_path / "sheet.png")
    with Image.open(tmp_path / "sheet.png") as sheet:
        panels = sheet.crop((0, 0, sheet.width, sheet.height - 32))  # without the legend
        shares = [panels.crop((x, 0, x + PANEL_WIDTH, panels.height)) for x in (14, 428, 842)]
    colours = (TRUTH, RIGHT, WRONG, MISSED)
    assert [[_has(panel, colour) for colour in colours] for panel in shares] == [
        [True, False, False, False],
        [False, True, False, False],
        [False, False, True, True],  # the dog scored 0.2 is below the threshold
    ]


def test_pictures_of_different_shapes_share_a_sheet(tmp_path: Path) -> None:
    nothing = _detections()
    rows = [
        ComparisonRow(_grey(width, height), nothing, {"teacher": nothing})
        for width, height in ((32, 64), (1000, 300))
    ]
    comparison_picture(rows, NAMES, tmp_path / "sheet.png")
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.width == 14 + 2 * (PANEL_WIDTH + 14)
        assert sheet.height > 800 + 120


def test_rows_with_different_columns_are_our_mistake(tmp_path: Path) -> None:
    nothing = _detections()
    rows = [ComparisonRow(_grey(), nothing, {name: nothing}) for name in ("teacher", "plain")]
    with pytest.raises(AssertionError, match="different columns"):
        comparison_picture(rows, NAMES, tmp_path / "sheet.png")
    with pytest.raises(AssertionError, match="no pictures"):
        comparison_picture([], NAMES, tmp_path / "sheet.png")
