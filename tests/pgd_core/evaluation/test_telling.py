from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pgd_core.evaluation.detections import Detections
from pgd_core.evaluation.telling import Telling, telling_pictures

BOXES = [(0.0, 0, 10, 10), (20, 0, 30, 10), (40, 0, 50, 10)]


def _detections(image_id: int, boxes: Sequence[tuple[float, ...]], score: float = 1) -> Detections:
    return Detections(
        image_id,
        np.array(boxes, float).reshape(-1, 4),
        np.full(len(boxes), score),
        np.ones(len(boxes), int),
    )


def _model(**found: int) -> dict[int, Detections]:
    """By image i<n>: so many of the three objects are found; negative: so many wrong boxes."""
    wrong = [(100.0 + 20 * k, 0, 110 + 20 * k, 10) for k in range(3)]
    return {
        int(name[1:]): _detections(int(name[1:]), BOXES[:n] if n > 0 else wrong[:-n], 0.5)
        for name, n in found.items()
    }


def _truths(count: int) -> dict[int, Detections]:
    return {image_id: _detections(image_id, BOXES) for image_id in range(1, count + 1)}


def test_quality_is_objects_found_less_wrong_detections() -> None:
    first, second = _model(i1=3, i2=1, i3=-2), _model(i1=1, i2=1)
    found = telling_pictures(_truths(3), first, second, count=6)
    assert found == [Telling(1, 2), Telling(3, -2)]  # 3 - 1; equal in 2; -2 against nothing


def test_the_largest_leads_are_taken_and_of_equal_ones_the_lowest_ids() -> None:
    first = _model(i1=1, i2=3, i3=2, i4=2)
    assert telling_pictures(_truths(4), first, {}, count=2) == [Telling(2, 3), Telling(3, 2)]


def test_each_model_is_seen_ahead_if_it_ever_is() -> None:
    first, second = _model(i1=3, i2=3, i3=2), _model(i4=1, i5=1)
    found = telling_pictures(_truths(5), first, second, count=3)
    assert found == [Telling(1, 3), Telling(2, 3), Telling(4, -1)]
    turned = telling_pictures(_truths(5), second, first, count=3)
    assert turned == [Telling(4, 1), Telling(1, -3), Telling(2, -3)]


def test_detections_of_a_low_score_count_for_nothing() -> None:
    faint = {1: _detections(1, BOXES, 0.2)}
    assert telling_pictures(_truths(1), faint, {}, count=6) == []
    assert telling_pictures(_truths(1), faint, {}, count=6, min_score=0.1) == [Telling(1, 3)]


def test_models_that_find_the_same_tell_nothing() -> None:
    same = _model(i1=2, i2=-1)
    assert telling_pictures(_truths(3), same, same, count=6) == []
    assert telling_pictures({}, {}, {}, count=6) == []
