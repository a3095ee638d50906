"""What counts as agreement between an exported detector and torch."""

from __future__ import annotations

import numpy as np
import pytest

from pgd_core.errors import ExportFailed
from pgd_core.training.export_check import Agreement, Boxes, _most, _unmatched


def boxes(*rows: tuple[float, float, int]) -> Boxes:
    """Boxes of 100 pixels, by left side, score and label."""
    return (
        np.array([[left, 0, left + 100, 100] for left, _, _ in rows], np.float32).reshape(-1, 4),
        np.array([score for _, score, _ in rows], np.float32),
        np.array([label for _, _, label in rows], np.int64),
    )


def test_the_same_boxes_in_another_order_are_the_same() -> None:
    mine = boxes((0, 0.5, 1), (30, 0.5, 1), (60, 0.4, 2))
    theirs = boxes((30, 0.5, 1), (0.05, 0.5004, 1), (60, 0.4, 2))
    assert _unmatched(mine, theirs) == 0


@pytest.mark.parametrize(
    "other", [(0.2, 0.5, 1), (0, 0.502, 1), (0, 0.5, 2)], ids=["moved", "rescored", "relabelled"]
)
def test_a_box_that_differs_has_no_counterpart(other: tuple[float, float, int]) -> None:
    assert _unmatched(boxes((0, 0.5, 1)), boxes(other)) == 1


def test_each_box_is_counterpart_of_one() -> None:
    once, twice = boxes((0, 0.5, 1)), boxes((0, 0.5, 1), (0, 0.5, 1))
    assert _unmatched(once, twice) == _unmatched(twice, once) == 1
    assert _unmatched(boxes(), once) == 1
    assert _unmatched(boxes(), boxes()) == 0


@pytest.mark.parametrize(
    "found",
    [
        Agreement(max_score_difference=2e-3),
        Agreement(max_box_difference=2e-3),
        Agreement(max_box_difference=float("nan")),
        Agreement(max_score_difference=float("nan")),
        Agreement(detections=99, unmatched=1),
    ],
)
def test_what_does_not_agree_is_refused(found: Agreement) -> None:
    with pytest.raises(ExportFailed):
        found.check()


def test_a_hundredth_of_the_boxes_may_hang_on_the_last_digits() -> None:
    Agreement(detections=100, unmatched=1, max_score_difference=1e-3).check()


def test_the_greatest_difference_is_kept_and_so_is_nan() -> None:
    assert _most(0.5, np.array([0.1, 0.7])) == pytest.approx(0.7)
    assert np.isnan(_most(0.5, np.array([np.nan])))
    assert np.isnan(_most(float("nan"), np.array([0.1])))
