from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from pgd_core.errors import TrainingDiverged
from pgd_core.evaluation.coco import CocoMetrics, coco_metrics
from pgd_core.evaluation.detections import Detections

CAT, DOG = 3, 7  # ids with gaps on purpose
Box = tuple[float, float, float, float]
SMALL_BOX: Box = (10, 10, 30, 30)  # 20² pixels
MEDIUM_BOX: Box = (100, 100, 150, 150)  # 50²
LARGE_BOX: Box = (200, 200, 300, 300)  # 100²


def _measure(
    folder: Path,
    truth: list[tuple[int, int, Box]],  # image id, category id, XYXY
    found: list[tuple[int, int, Box, float]],
    images: int = 1,
    crowd: tuple[int, ...] = (),
    bare: bool = False,
) -> CocoMetrics:
    annotations = []
    for index, (image_id, category_id, (x1, y1, x2, y2)) in enumerate(truth):
        row = {
            "id": index + 1,
            "image_id": image_id,
            "category_id": category_id,
            "bbox": [x1, y1, x2 - x1, y2 - y1],
        }
        if not bare:
            row |= {"area": (x2 - x1) * (y2 - y1), "iscrowd": int(index in crowd)}
        annotations.append(row)
    content = {
        "images": [{"id": i + 1, "file_name": f"{i}.png"} for i in range(images)],
        "annotations": annotations,
        "categories": [{"id": DOG, "name": "dog"}, {"id": CAT, "name": "cat"}],
    }
    path = folder / "val.json"
    path.write_text(json.dumps(content))
    detections = []
    for image_id in sorted({row[0] for row in found}):
        mine = [row for row in found if row[0] == image_id]
        detections.append(
            Detections(
                image_id,
                np.array([row[2] for row in mine], np.float32),
                np.array([row[3] for row in mine], np.float32),
                np.array([row[1] for row in mine]),
            )
        )
    return coco_metrics(path, detections)


def test_finding_everything_exactly_gives_100(tmp_path: Path) -> None:
    boxes = [SMALL_BOX, MEDIUM_BOX, LARGE_BOX]
    metrics = _measure(
        tmp_path, [(1, CAT, box) for box in boxes], [(1, CAT, box, 0.9) for box in boxes]
    )
    assert metrics.ap == metrics.ap50 == metrics.ap75 == 100
    assert metrics.ap_small == metrics.ap_medium == metrics.ap_large == 100
    assert metrics.ar100 == metrics.ar_small == metrics.ar_medium == metrics.ar_large == 100


def test_finding_nothing_gives_0(tmp_path: Path) -> None:
    metrics = _measure(tmp_path, [(1, CAT, SMALL_BOX)], [])
    assert metrics.ap == metrics.ap50 == metrics.ar100 == metrics.ap_small == 0
    assert metrics.ap_large is None


def test_an_image_with_no_boxes_found_is_allowed(tmp_path: Path) -> None:
    path = tmp_path / "val.json"
    _measure(tmp_path, [(1, CAT, SMALL_BOX)], [])
    empty = Detections(1, np.zeros((0, 4)), np.zeros(0), np.zeros(0, np.int64))
    assert coco_metrics(path, [empty]).ap == 0


def test_no_objects_at_all_gives_none(tmp_path: Path) -> None:
    metrics = _measure(tmp_path, [], [(1, CAT, SMALL_BOX, 0.9)])
    assert metrics.ap is None
    assert metrics.ar1 is None
    assert metrics.ap_per_class == {"cat": None, "dog": None}


def test_a_box_of_iou_062_counts_at_three_of_ten_thresholds(tmp_path: Path) -> None:
    # 100 x 62 inside 100 x 100: right at 0.50, 0.55 and 0.60
    metrics = _measure(tmp_path, [(1, CAT, LARGE_BOX)], [(1, CAT, (200, 200, 300, 262), 0.9)])
    assert metrics.ap == pytest.approx(30)
    assert metrics.ap50 == 100
    assert metrics.ap75 == 0
    assert metrics.ar100 == pytest.approx(30)


def test_half_the_objects_found_is_precision_1_up_to_recall_one_half(tmp_path: Path) -> None:
    metrics = _measure(
        tmp_path, [(1, CAT, SMALL_BOX), (1, CAT, LARGE_BOX)], [(1, CAT, LARGE_BOX, 0.9)]
    )
    assert metrics.ap == pytest.approx(100 * 51 / 101, abs=1e-3)  # recall levels 0.00 to 0.50
    assert metrics.ar100 == 50
    assert metrics.ap_small == 0
    assert metrics.ap_large == 100
    assert metrics.ap_medium is None


def test_a_false_alarm_scored_above_the_object_halves_its_precision(tmp_path: Path) -> None:
    metrics = _measure(
        tmp_path, [(1, CAT, LARGE_BOX)], [(1, CAT, SMALL_BOX, 0.9), (1, CAT, LARGE_BOX, 0.5)]
    )
    assert metrics.ap == pytest.approx(50)
    assert metrics.ar1 == 0
    assert metrics.ar10 == 100


def test_a_false_alarm_scored_below_the_object_costs_nothing(tmp_path: Path) -> None:
    metrics = _measure(
        tmp_path, [(1, CAT, LARGE_BOX)], [(1, CAT, SMALL_BOX, 0.5), (1, CAT, LARGE_BOX, 0.9)]
    )
    assert metrics.ap == 100


def test_a_second_box_on_the_same_object_is_a_false_alarm(tmp_path: Path) -> None:
    truth = [(1, CAT, LARGE_BOX), (2, CAT, LARGE_BOX)]
    found = [(1, CAT, LARGE_BOX, 0.9), (1, CAT, LARGE_BOX, 0.8), (2, CAT, LARGE_BOX, 0.7)]
    metrics = _measure(tmp_path, truth, found, images=2)
    # precision 1 at recall <= 0.5, 2/3 above
    assert metrics.ap == pytest.approx(100 * (51 + 50 * 2 / 3) / 101, abs=1e-3)


def test_the_mean_is_over_classes_with_objects(tmp_path: Path) -> None:
    metrics = _measure(
        tmp_path,
        [(1, CAT, LARGE_BOX), (1, DOG, SMALL_BOX)],
        [(1, CAT, LARGE_BOX, 0.9), (1, CAT, SMALL_BOX, 0.1)],  # the dog called a cat
    )
    assert metrics.ap == 50
    assert metrics.ap_per_class == {"cat": 100, "dog": 0}
    assert list(metrics.ap_per_class) == ["cat", "dog"]  # by category id


def test_what_is_found_in_a_crowd_is_neither_right_nor_wrong(tmp_path: Path) -> None:
    metrics = _measure(
        tmp_path,
        [(1, CAT, SMALL_BOX), (1, CAT, LARGE_BOX)],
        [(1, CAT, (210, 210, 290, 290), 0.9), (1, CAT, SMALL_BOX, 0.5)],
        crowd=(1,),
    )
    assert metrics.ap == 100


def test_an_image_without_detections_counts_as_missed(tmp_path: Path) -> None:
    truth = [(1, CAT, LARGE_BOX), (2, CAT, LARGE_BOX)]
    metrics = _measure(tmp_path, truth, [(1, CAT, LARGE_BOX, 0.9)], images=2)
    assert metrics.ar100 == 50


def test_annotations_without_area_and_iscrowd_are_evaluated(tmp_path: Path) -> None:
    metrics = _measure(tmp_path, [(1, CAT, SMALL_BOX)], [(1, CAT, SMALL_BOX, 0.9)], bare=True)
    assert metrics.ap == metrics.ap_small == 100


def test_nothing_is_printed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _measure(tmp_path, [(1, CAT, SMALL_BOX)], [(1, CAT, SMALL_BOX, 0.9)])
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_score_that_is_not_finite_is_a_diverged_model(tmp_path: Path, bad: float) -> None:
    with pytest.raises(TrainingDiverged, match="image 1"):
        _measure(tmp_path, [(1, CAT, SMALL_BOX)], [(1, CAT, SMALL_BOX, bad)])


def test_ids_the_annotations_do_not_know_are_our_mistake(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="image 2"):
        _measure(tmp_path, [(1, CAT, SMALL_BOX)], [(2, CAT, SMALL_BOX, 0.9)])
    with pytest.raises(AssertionError, match="categories"):
        _measure(tmp_path, [(1, CAT, SMALL_BOX)], [(1, 99, SMALL_BOX, 0.9)])
