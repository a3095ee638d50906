"""Padding a batch, and refusing features that do not fit together."""

from __future__ import annotations

import pytest
import torch

from pgd_core.distill import GroundTruth, TeacherPredictions
from pgd_core.distill.inputs import check_maps_fit
from pgd_core.errors import InvalidSpec


def test_images_are_padded_to_the_fullest_and_say_what_is_padding() -> None:
    truth = GroundTruth.from_lists(
        boxes=[torch.ones(2, 4), torch.ones(1, 4)],
        labels=[torch.tensor([5, 6]), torch.tensor([7])],
        ignored=[torch.zeros(0, 4), torch.ones(1, 4)],
        image_sizes=[(10, 20), (30, 40)],
        device="cpu",
    )
    assert truth.boxes.shape == (2, 2, 4)
    assert truth.boxes[1, 1].tolist() == [0, 0, 0, 0]
    assert truth.labels.tolist() == [[5, 6], [7, 0]]
    assert truth.labels.dtype == torch.int64
    assert truth.valid.tolist() == [[True, True], [True, False]]
    assert truth.ignored_boxes.tolist() == [[[0, 0, 0, 0]], [[1, 1, 1, 1]]]
    assert truth.image_sizes.tolist() == [[10, 20], [30, 40]]


def test_a_batch_without_objects_has_an_empty_object_axis() -> None:
    empty = [torch.zeros(0, 4), torch.zeros(0)]
    truth = GroundTruth.from_lists(
        boxes=[torch.zeros(0, 4), torch.zeros(0)],
        labels=[torch.zeros(0), torch.zeros(0, dtype=torch.int64)],
        ignored=empty,
        image_sizes=[(8, 8), (8, 8)],
        device="cpu",
    )
    assert truth.boxes.shape == (2, 0, 4)
    assert truth.labels.shape == truth.valid.shape == (2, 0)
    assert truth.labels.dtype == torch.int64
    assert truth.ignored_boxes.shape == (2, 0, 4)


def test_lists_of_different_batch_sizes_are_refused() -> None:
    with pytest.raises(InvalidSpec, match="one entry an image"):
        GroundTruth.from_lists([torch.zeros(0, 4)], [], [torch.zeros(0, 4)], [(8, 8)], "cpu")


def test_predictions_that_do_not_fill_their_levels_are_refused() -> None:
    with pytest.raises(InvalidSpec, match="hold 5 positions"):
        TeacherPredictions(
            torch.zeros(5, 2), torch.zeros(1, 5, 4), torch.zeros(1, 4, 3), ((2, 2), (1, 1))
        )


def test_a_difference_in_channels_is_refused_and_both_sides_are_named() -> None:
    teacher, student = [torch.zeros(1, 256, 2, 2)], [torch.zeros(1, 64, 2, 2)]
    with pytest.raises(InvalidSpec, match=r"reg features.*256.*64"):
        check_maps_fit("reg features", teacher, student, ((2, 2),))


def test_a_missing_level_is_refused() -> None:
    levels = [torch.zeros(1, 4, 2, 2)] * 2
    with pytest.raises(InvalidSpec, match="cls features"):
        check_maps_fit("cls features", levels, levels[:1], ((2, 2), (2, 2)))


def test_features_of_other_levels_than_the_predictions_are_refused() -> None:
    levels = [torch.zeros(1, 4, 2, 2)]
    with pytest.raises(InvalidSpec, match="not the levels"):
        check_maps_fit("neck features", levels, levels, ((2, 3),))
