"""How anchors overlap objects: IoU and distance-IoU of every pair."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch

from pgd_core.distill import GroundTruth, TeacherPredictions
from pgd_core.distill.anchors import anchor_dious, anchor_ious
from pgd_core.errors import InvalidSpec
from tests.pgd_core.distill.references import diou_of, iou_of, positions_of
from tests.pgd_core.distill.views import with_anchors

MakePredictions = Callable[..., TeacherPredictions]


def test_both_overlaps_agree_with_plain_loops(
    make_predictions: MakePredictions, truth: GroundTruth
) -> None:
    predictions = with_anchors(make_predictions(), scale=2)
    ious = anchor_ious(predictions, truth)
    dious = anchor_dious(ious, predictions, truth)
    for n, g, box in positions_of(truth):
        for a, anchor in enumerate(predictions.anchors.tolist()):  # type: ignore[union-attr]
            assert ious[n, g, a].item() == pytest.approx(iou_of(box, anchor))
            assert dious[n, g, a].item() == pytest.approx(diou_of(box, anchor))
    assert (dious < 0).any()
    assert (dious > 0.1).any()


def test_distance_iou_by_hand() -> None:
    """Two squares of 10 that share a corner region of 5 x 5; and two that touch nowhere."""
    predictions = TeacherPredictions(
        points=torch.tensor([[10.0, 10], [35, 5]]),
        boxes=torch.zeros(1, 2, 4),
        class_logits=torch.zeros(1, 2, 1),
        level_sizes=((1, 2),),
        anchors=torch.tensor([[5.0, 5, 15, 15], [30, 0, 40, 10]]),
    )
    box = torch.tensor([[0.0, 0, 10, 10]])
    truth = GroundTruth.from_lists([box], [torch.zeros(1)], [torch.zeros(0, 4)], [(50, 50)], "cpu")
    ious = anchor_ious(predictions, truth)
    dious = anchor_dious(ious, predictions, truth)
    torch.testing.assert_close(ious, torch.tensor([[[25 / 175, 0.0]]]))
    expected = [25 / 175 - 50 / 450, -900 / (40**2 + 10**2)]
    torch.testing.assert_close(dious, torch.tensor([[expected]]))


def test_padded_objects_overlap_nothing_even_if_their_box_is_not_zero(
    make_predictions: MakePredictions, truth: GroundTruth
) -> None:
    nobody = replace(truth, valid=torch.zeros(2, 2, dtype=torch.bool))
    assert not anchor_ious(with_anchors(make_predictions()), nobody).any()


def test_boxes_without_area_have_finite_overlaps(
    make_predictions: MakePredictions, truth: GroundTruth
) -> None:
    predictions = with_anchors(make_predictions(), scale=0)
    dots = replace(truth, boxes=predictions.points[:1].repeat(1, 2).expand(2, 2, 4).float())
    ious = anchor_ious(predictions, dots)
    assert not ious.any()
    assert anchor_dious(ious, predictions, dots).isfinite().all()


def test_a_detector_without_anchors_is_refused(
    make_predictions: MakePredictions, truth: GroundTruth
) -> None:
    with pytest.raises(InvalidSpec, match="a method that needs none"):
        anchor_ious(make_predictions(), truth)
