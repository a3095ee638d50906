from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pgd_core.evaluation.detections import (
    Detections,
    read_detections,
    truth_of,
    write_detections,
)


def test_above_keeps_the_confident_best_first() -> None:
    boxes = np.arange(12, dtype=np.float64).reshape(3, 4)
    found = Detections(1, boxes, np.array([0.3, 0.1, 0.9]), np.array([5, 6, 7]))
    kept = found.above(0.3)
    assert kept.scores.tolist() == [0.9, 0.3]
    assert kept.category_ids.tolist() == [7, 5]
    assert kept.boxes.tolist() == [boxes[2].tolist(), boxes[0].tolist()]


def test_arrays_of_different_lengths_are_our_mistake() -> None:
    with pytest.raises(AssertionError):
        Detections(1, np.zeros((2, 4)), np.zeros(3), np.zeros(3))


def test_detections_come_back_from_their_file_by_image(tmp_path: Path) -> None:
    boxes = np.arange(12, dtype=np.float64).reshape(3, 4)
    faint = Detections(3, boxes, np.array([0.1, 0.1, 0.29]), np.array([5, 6, 7]))
    found = Detections(9, boxes, np.array([0.3, 0.1, 0.9]), np.array([5, 6, 7]))
    other = Detections(2, boxes[:1], np.array([0.5]), np.array([6]))
    write_detections(tmp_path / "found.npz", [faint, found, other], 0.3)
    read = read_detections(tmp_path / "found.npz")
    assert list(read) == [2, 9]
    assert read[9].scores.tolist() == [0.9, 0.3]
    assert read[9].boxes.tolist() == [boxes[2].tolist(), boxes[0].tolist()]
    assert read[2].category_ids.tolist() == [6]


@pytest.mark.parametrize("found", [[], [truth_of(4, [])]], ids=["no pictures", "no boxes"])
def test_nothing_found_comes_back_as_nothing(found: list[Detections], tmp_path: Path) -> None:
    write_detections(tmp_path / "found.npz", found, 0.3)
    assert read_detections(tmp_path / "found.npz") == {}


def test_the_truth_of_an_image_has_corners_and_no_crowd_regions() -> None:
    rows = [
        {"bbox": [1, 2, 10, 20], "category_id": 3},
        {"bbox": [0, 0, 50, 50], "category_id": 3, "iscrowd": 1},
    ]
    truth = truth_of(7, rows)
    assert truth.boxes.tolist() == [[1, 2, 11, 22]]
    assert (truth.image_id, truth.category_ids.tolist(), truth.scores.tolist()) == (7, [3], [1])
