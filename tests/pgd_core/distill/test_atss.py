"""ATSS: each object's anchors, by the threshold of its own candidates."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch

from pgd_core.distill import GroundTruth, TeacherPredictions
from pgd_core.distill.anchors import anchor_ious
from pgd_core.distill.atss import Assignment, atss_assignment
from tests.pgd_core.distill.references import assignment_of
from tests.pgd_core.distill.views import one_object, three_in_a_row, with_anchors

MakePredictions = Callable[..., TeacherPredictions]


def assign(predictions: TeacherPredictions, truth: GroundTruth, per_level: int = 9) -> Assignment:
    return atss_assignment(anchor_ious(predictions, truth), predictions, truth, per_level)


def off_grid(truth: GroundTruth) -> GroundTruth:
    """The same boxes moved a little, so that no two anchors are equally near."""
    return replace(truth, boxes=truth.boxes + torch.tensor([0.31, 0.17, 0.41, 0.13]))


@pytest.mark.parametrize("per_level", [1, 3, 9])
@pytest.mark.parametrize("scale", [1.0, 3.0])
def test_positives_and_thresholds_agree_with_plain_loops(
    make_predictions: MakePredictions, truth: GroundTruth, per_level: int, scale: float
) -> None:
    predictions, truth = with_anchors(make_predictions(), scale=scale), off_grid(truth)
    found = assign(predictions, truth, per_level)
    positives, thresholds = assignment_of(predictions, truth, per_level)
    assert {tuple(pair) for pair in found.positive.nonzero().tolist()} == positives
    assert bool(positives) is (per_level > 1)  # the better of two misses mean and deviation
    for (n, g), threshold in thresholds.items():
        assert found.thresholds[n, g].item() == pytest.approx(threshold)


def test_the_threshold_by_hand() -> None:
    """IoUs 1, 60 / 140 and 20 / 180: mean 0.5132, deviation 0.4505; only the first reaches it."""
    found = assign(three_in_a_row(), one_object([0.0, 0, 10, 10]))
    ious = [1, 3 / 7, 1 / 9]
    mean = sum(ious) / 3
    threshold = mean + math.sqrt(sum((iou - mean) ** 2 for iou in ious) / 2)
    assert found.thresholds.item() == pytest.approx(threshold)
    assert found.positive.tolist() == [[True, False, False]]


def test_an_anchor_whose_centre_is_outside_the_box_is_no_positive() -> None:
    """A flat box below the centres: the first anchor has the best IoU all the same."""
    found = assign(three_in_a_row(), one_object([0.0, 6, 10, 10]))
    assert not found.positive.any()
    assert found.thresholds.item() > 0


def test_a_single_candidate_is_its_own_threshold() -> None:
    """The detectors' assignment has no deviation there, and no positive."""
    found = assign(three_in_a_row(), one_object([0.0, 0, 10, 9]), per_level=1)
    assert found.thresholds.item() == pytest.approx(0.9)
    assert found.positive.tolist() == [[True, False, False]]


def test_anchors_on_padding_are_no_candidates() -> None:
    narrow = replace(one_object([0.0, 0, 10, 10]), image_sizes=torch.tensor([[20.0, 8]]))
    found = assign(three_in_a_row(), narrow)
    assert found.thresholds.item() == pytest.approx(1)
    nothing = replace(narrow, image_sizes=torch.zeros(1, 2))
    assert not assign(three_in_a_row(), nothing).positive.any()


def test_padded_objects_and_images_without_objects_have_no_positives(
    make_predictions: MakePredictions, truth: GroundTruth
) -> None:
    predictions = with_anchors(make_predictions())
    nobody = replace(truth, valid=torch.zeros(2, 2, dtype=torch.bool))
    assert not assign(predictions, nobody).positive.any()
    none = [torch.zeros(0, 4)] * 2
    empty = GroundTruth.from_lists(none, [torch.zeros(0)] * 2, none, [(32, 48)] * 2, "cpu")
    found = assign(predictions, empty)
    assert found.positive.shape == (2, 30)
    assert not found.positive.any()
    assert found.thresholds.shape == (2, 0)
