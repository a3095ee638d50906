"""Boxes, padding and ignore regions over the cells of a level."""

from __future__ import annotations

from collections.abc import Callable

import torch

from pgd_core.distill import GroundTruth, TeacherPredictions
from pgd_core.distill.level_masks import cells_on_image, covered_cells, usable_cells


def test_a_box_covers_the_cells_from_its_first_to_its_last() -> None:
    first, last = torch.tensor([[[1.0, 0.0]]]), torch.tensor([[[2.0, 1.0]]])
    expected = [[0, 1, 1, 0], [0, 1, 1, 0], [0, 0, 0, 0]]
    assert covered_cells(first, last, (3, 4))[0, 0].int().tolist() == expected


def test_a_box_that_ends_before_it_begins_or_lies_elsewhere_covers_nothing() -> None:
    first = torch.tensor([[[2.0, 0.0], [7.0, 7.0], [-5.0, -5.0]]])
    last = torch.tensor([[[1.0, 1.0], [9.0, 9.0], [-1.0, -1.0]]])
    assert not covered_cells(first, last, (3, 4)).any()


def test_a_box_beyond_the_level_covers_what_is_in_it() -> None:
    first, last = torch.tensor([[[-9.0, -9.0]]]), torch.tensor([[[99.0, 99.0]]])
    assert covered_cells(first, last, (3, 4)).all()


def test_no_boxes_have_an_empty_axis() -> None:
    assert covered_cells(torch.zeros(2, 0, 2), torch.zeros(2, 0, 2), (3, 4)).shape == (2, 0, 3, 4)


def test_padding_and_ignore_regions_are_no_usable_cells(
    make_predictions: Callable[..., TeacherPredictions], truth: GroundTruth
) -> None:
    """The second image has 28 of 32 rows and 40 of 48 columns; points lie in the cells' middle."""
    fine, coarse = usable_cells(make_predictions(), truth)
    assert fine[0].int().tolist() == [[1] * 6] * 3 + [[0] + [1] * 5]
    assert coarse[0].int().tolist() == [[1] * 3] * 2
    assert fine[1].int().tolist() == [[1] * 5 + [0]] * 3 + [[0] * 6]
    assert coarse[1].int().tolist() == [[1, 1, 0]] * 2


def test_ignore_regions_lie_on_the_image_too(
    make_predictions: Callable[..., TeacherPredictions], truth: GroundTruth
) -> None:
    fine, _ = cells_on_image(make_predictions(), truth)
    assert fine[0].all()
    assert not fine[1].all()
