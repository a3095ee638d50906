"""The fine-grained region, and the error on it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from pgd_core.distill import GroundTruth, TeacherPredictions
from pgd_core.distill.anchors import anchor_ious
from pgd_core.distill.fine_grained import fine_grained_region, imitation_error
from tests.pgd_core.distill.references import region_of
from tests.pgd_core.distill.views import one_object, three_in_a_row, with_anchors

MakePredictions = Callable[..., TeacherPredictions]


def region(predictions: TeacherPredictions, truth: GroundTruth) -> list[Tensor]:
    ious = anchor_ious(predictions, truth)
    return fine_grained_region(ious, predictions, truth, 0.5)


def flat(levels: list[Tensor]) -> Tensor:
    return torch.cat([level.flatten(1) for level in levels], dim=1)


@pytest.mark.parametrize("scale", [1.0, 2.0])
def test_the_region_agrees_with_plain_loops(
    make_predictions: MakePredictions, truth: GroundTruth, scale: float
) -> None:
    predictions = with_anchors(make_predictions(), scale=scale)
    levels = region(predictions, truth)
    assert [tuple(level.shape) for level in levels] == [(2, 4, 6), (2, 2, 3)]
    expected = region_of(predictions, truth)
    assert {tuple(pair) for pair in flat(levels).nonzero().tolist()} == expected
    assert 0 < len(expected) < 60


def test_the_region_by_hand() -> None:
    """IoUs 1, 60 / 140 and 20 / 180 with the first anchor: only the first is above 1 / 2.

    With an object of half that height they are 1 / 2, 30 / 120 (not above a quarter) and less.
    """
    for height in (10, 5):
        (level,) = region(three_in_a_row(), one_object([0.0, 0, 10, height]))
        assert level.tolist() == [[[True, False, False]]]
    (level,) = region(three_in_a_row(), one_object([2.0, 0, 12, 10]))
    assert level.tolist() == [[[True, True, False]]]


def test_an_object_that_no_anchor_overlaps_adds_nothing() -> None:
    (level,) = region(three_in_a_row(), one_object([25.0, 15, 30, 20]))
    assert not level.any()


def test_padding_and_ignore_regions_are_left_out() -> None:
    truth = one_object([2.0, 0, 12, 10])
    ignored = replace(truth, ignored_boxes=torch.tensor([[[0.0, 0, 7, 10]]]))
    narrow = replace(truth, image_sizes=torch.tensor([[20.0, 9]]))
    assert region(three_in_a_row(), ignored)[0].tolist() == [[[False, True, False]]]
    assert region(three_in_a_row(), narrow)[0].tolist() == [[[True, False, False]]]


def test_the_error_is_a_mean_over_channels_and_region_and_then_over_images() -> None:
    """Errors 1 and 3 in the first image on two levels, 2 in the second: ((1 + 9) / 2 + 4) / 2."""
    cells = torch.tensor([[[True, False]], [[False, True]]]), torch.tensor([[[True]], [[False]]])
    student = torch.tensor([[[[1.0, 50]]], [[[60, 2]]]]), torch.tensor([[[[3.0]]], [[[70]]]])
    pairs = [(torch.zeros(2, 4, *s.shape[2:]), s.expand(-1, 4, -1, -1)) for s in student]
    torch.testing.assert_close(imitation_error(pairs, list(cells)).item(), (5 + 4) / 2)


def test_an_image_without_a_region_counts_nothing_and_keeps_the_graph() -> None:
    student = torch.ones(1, 2, 1, 3, requires_grad=True)
    error = imitation_error([(torch.zeros(1, 2, 1, 3), student)], [torch.zeros(1, 1, 3) > 0])
    error.backward()
    assert error.item() == 0
    assert student.grad is not None
    assert not student.grad.any()
