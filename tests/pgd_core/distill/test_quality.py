"""Eq. 1: quality of each position for each object."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from pgd_core.distill import GroundTruth, TeacherPredictions
from pgd_core.distill.quality import (
    inside_boxes,
    inside_images,
    object_class_probs,
    object_evidence,
    pairwise_iou,
    quality_scores,
)


def one_object(box: list[float], label: int = 0) -> GroundTruth:
    return GroundTruth.from_lists(
        [torch.tensor([box])],
        [torch.tensor([label])],
        [torch.zeros(0, 4)],
        [(100, 100)],
        "cpu",
    )


def reference_quality(
    predictions: TeacherPredictions, truth: GroundTruth, xi: float
) -> tuple[Tensor, Tensor]:
    """Eq. 1 and the background, in plain loops."""
    images, objects = truth.labels.shape
    positions = len(predictions.points)
    quality = torch.zeros(images, objects, positions, dtype=torch.float64)
    background = torch.zeros(images, positions, dtype=torch.float64)
    for n in range(images):
        for a in range(positions):
            x, y = predictions.points[a].tolist()
            height, width = truth.image_sizes[n].tolist()

            def is_inside(box: list[float], x: float = x, y: float = y) -> bool:
                return box[0] < x < box[2] and box[1] < y < box[3]

            if x >= width or y >= height or any(map(is_inside, truth.ignored_boxes[n].tolist())):
                continue
            background[n, a] = 1
            for g in range(objects):
                box = truth.boxes[n, g].tolist()
                if not truth.valid[n, g] or not is_inside(box):
                    continue
                background[n, a] = 0
                logit = predictions.class_logits[n, a, truth.labels[n, g]].item()
                found = predictions.boxes[n, a].tolist()
                w = max(0, min(box[2], found[2]) - max(box[0], found[0]))
                h = max(0, min(box[3], found[3]) - max(box[1], found[1]))
                union = (box[2] - box[0]) * (box[3] - box[1])
                union += (found[2] - found[0]) * (found[3] - found[1]) - w * h
                probability = 1 / (1 + math.exp(-logit))
                quality[n, g, a] = probability ** (1 - xi) * (w * h / union) ** xi
    return quality, background


def test_quality_is_probability_and_overlap_weighed_by_xi() -> None:
    """p = 0.5 and IoU = 50 / 100 at the one position inside; the other is outside."""
    predictions = TeacherPredictions(
        points=torch.tensor([[5.0, 5], [20, 5]]),
        boxes=torch.tensor([[[0.0, 0, 10, 5], [0, 0, 10, 10]]]),
        class_logits=torch.zeros(1, 2, 1),
        level_sizes=((1, 2),),
    )
    quality = quality_scores(object_evidence(predictions, one_object([0, 0, 10, 10])), 0.8)
    expected = 0.5**0.2 * 0.5**0.8
    torch.testing.assert_close(quality, torch.tensor([[[expected, 0.0]]]))


@pytest.mark.parametrize("xi", [0.0, 0.6, 0.8, 1.0])
def test_quality_and_background_agree_with_plain_loops(
    make_predictions: Callable[..., TeacherPredictions], truth: GroundTruth, xi: float
) -> None:
    predictions = make_predictions()
    evidence = object_evidence(predictions, truth)
    quality, background = reference_quality(predictions, truth, xi)
    torch.testing.assert_close(quality_scores(evidence, xi), quality)
    torch.testing.assert_close(evidence.background.double(), background)
    assert quality.count_nonzero() > 10


def test_xi_zero_is_classification_only_even_where_nothing_overlaps() -> None:
    predictions = TeacherPredictions(
        points=torch.tensor([[5.0, 5]]),
        boxes=torch.tensor([[[80.0, 80, 90, 90]]]),
        class_logits=torch.tensor([[[1.0]]]),
        level_sizes=((1, 1),),
    )
    evidence = object_evidence(predictions, one_object([0, 0, 10, 10]))
    torch.testing.assert_close(quality_scores(evidence, 0.0), torch.tensor([[[1.0]]]).sigmoid())
    assert quality_scores(evidence, 0.8).item() == 0


def test_xi_one_is_localisation_only_even_where_the_class_is_missed() -> None:
    predictions = TeacherPredictions(
        points=torch.tensor([[5.0, 5]]),
        boxes=torch.tensor([[[0.0, 0, 10, 10]]]),
        class_logits=torch.tensor([[[-1000.0]]]),
        level_sizes=((1, 1),),
    )
    evidence = object_evidence(predictions, one_object([0, 0, 10, 10]))
    torch.testing.assert_close(quality_scores(evidence, 1.0), torch.ones(1, 1, 1))


def test_the_probability_is_that_of_the_object_s_own_class() -> None:
    logits = torch.tensor([[[0.0, 1.0, 2.0], [3.0, 4.0, 5.0]]])
    probs = object_class_probs(logits, torch.tensor([[2, 0]]))
    torch.testing.assert_close(probs, torch.tensor([[[2.0, 5.0], [0.0, 3.0]]]).sigmoid())


def test_the_in_box_test_does_not_take_x_for_y() -> None:
    """The release's anchor-free in-box test does: departure 2."""
    wide = torch.tensor([[[0.0, 0, 100, 10]]])
    points = torch.tensor([[50.0, 5], [5, 50]])
    assert inside_boxes(points, wide).tolist() == [[[True, False]]]


def test_a_point_on_the_edge_is_outside_and_an_empty_box_holds_nothing() -> None:
    points = torch.tensor([[0.0, 5], [10, 5], [5, 0], [5, 10], [5, 5]])
    boxes = torch.tensor([[[0.0, 0, 10, 10], [0, 0, 0, 0], [5, 5, 5, 5], [9, 9, 1, 1]]])
    assert inside_boxes(points, boxes)[0].sum(dim=1).tolist() == [1, 0, 0, 0]


def test_padding_is_neither_foreground_nor_background() -> None:
    """Departure 17: the release leaves padding in for anchor-free detectors."""
    points = torch.tensor([[39.0, 27], [40, 27], [39, 28], [12, 12]])
    inside = inside_images(points, torch.tensor([[28.0, 40]]))
    assert inside.tolist() == [[True, False, False, True]]


def test_an_ignore_region_is_neither_foreground_nor_background(
    make_predictions: Callable[..., TeacherPredictions], truth: GroundTruth
) -> None:
    """Departure 17: the release never masks crowds."""
    everything = torch.tensor([0.0, 0, 48, 32]).expand(2, 1, 4)
    evidence = object_evidence(make_predictions(), replace(truth, ignored_boxes=everything))
    assert not evidence.eligible.any()
    assert not evidence.background.any()


def test_padded_objects_match_nothing_even_if_their_box_is_not_zero(
    make_predictions: Callable[..., TeacherPredictions], truth: GroundTruth
) -> None:
    everything = torch.tensor([0.0, 0, 48, 32]).expand(2, 2, 4)
    nobody = replace(truth, boxes=everything, valid=torch.zeros(2, 2, dtype=torch.bool))
    assert not object_evidence(make_predictions(), nobody).eligible.any()


def test_without_objects_all_usable_positions_are_background(
    make_predictions: Callable[..., TeacherPredictions],
) -> None:
    none = [torch.zeros(0, 4)] * 2
    truth = GroundTruth.from_lists(none, [torch.zeros(0)] * 2, none, [(32, 48)] * 2, "cpu")
    evidence = object_evidence(make_predictions(), truth)
    assert evidence.background.all()
    assert quality_scores(evidence, 0.8).shape == (2, 0, 30)


def test_overlap_of_boxes_without_area_is_zero_and_finite() -> None:
    boxes = torch.tensor([[[0.0, 0, 0, 0], [5, 5, 5, 5]]])
    others = torch.tensor([[[0.0, 0, 0, 0], [5, 5, 1, 1]]])
    assert pairwise_iou(boxes, others).tolist() == [[[0, 0], [0, 0]]]


def test_a_box_overlaps_itself_entirely() -> None:
    boxes = torch.rand(2, 5, 4, generator=torch.Generator().manual_seed(0))
    boxes[..., 2:] += boxes[..., :2] + 1
    diagonal = pairwise_iou(boxes, boxes).diagonal(dim1=1, dim2=2)
    torch.testing.assert_close(diagonal, torch.ones(2, 5))


def test_half_precision_predictions_are_scored_in_float32() -> None:
    """float16 knows whole pixels only at 1200."""
    predictions = TeacherPredictions(
        points=torch.tensor([[1300.0, 700]]),
        boxes=torch.tensor([[[1200.0, 600, 1330, 790]]], dtype=torch.float16),
        class_logits=torch.zeros(1, 1, 1, dtype=torch.bfloat16),
        level_sizes=((1, 1),),
    )
    truth = replace(one_object([1200.4, 600, 1330, 790]), image_sizes=torch.tensor([[800.0, 1333]]))
    quality = quality_scores(object_evidence(predictions, truth), 0.5)
    overlap = (1330 - 1200.4) / (1330 - 1200)
    torch.testing.assert_close(quality, torch.full((1, 1, 1), (0.5 * overlap) ** 0.5))
