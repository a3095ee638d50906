from __future__ import annotations

import numpy as np
import pytest

from pgd_core.evaluation.detections import Detections


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
