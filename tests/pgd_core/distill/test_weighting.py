"""Eq. 4 and the masks of a batch, whatever the strategy."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from pgd_core.distill import STRATEGIES, GroundTruth, PgdParameters, TeacherPredictions
from pgd_core.distill.parameters import Strategy
from pgd_core.distill.weighting import distillation_masks, normalise, split_levels


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_each_image_gets_its_own_mask_only(
    make_predictions: Callable[..., TeacherPredictions], truth: GroundTruth, strategy: Strategy
) -> None:
    """The release broadcasts the masks over the batch: departure 1."""
    predictions, hyper = make_predictions(), PgdParameters(top_k=9, strategy=strategy)
    masks = distillation_masks(predictions, truth, hyper)
    for n in range(2):
        alone = distillation_masks(
            TeacherPredictions(
                predictions.points,
                predictions.boxes[n : n + 1],
                predictions.class_logits[n : n + 1],
                predictions.level_sizes,
            ),
            GroundTruth(
                truth.boxes[n : n + 1],
                truth.labels[n : n + 1],
                truth.valid[n : n + 1],
                truth.ignored_boxes[n : n + 1],
                truth.image_sizes[n : n + 1],
            ),
            hyper,
        )
        for name in ("cls_importance", "reg_importance", "background"):
            # A batch of another size rounds the last bit of a power differently.
            torch.testing.assert_close(
                getattr(masks, name)[n], getattr(alone, name)[0], rtol=1e-14, atol=0
            )


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_no_position_is_both_foreground_and_background(
    make_predictions: Callable[..., TeacherPredictions], truth: GroundTruth, strategy: Strategy
) -> None:
    masks = distillation_masks(make_predictions(), truth, PgdParameters(strategy=strategy))
    assert masks.cls_importance.count_nonzero() > 0
    assert masks.background.count_nonzero() > 0
    assert not (masks.cls_importance * masks.background).any()


def test_the_two_branches_have_masks_of_their_own(
    make_predictions: Callable[..., TeacherPredictions], truth: GroundTruth
) -> None:
    hyper = PgdParameters(xi_cls=1, xi_reg=0, top_k=5)
    masks = distillation_masks(make_predictions(), truth, hyper)
    assert not masks.cls_importance.equal(masks.reg_importance)


def test_a_mask_is_divided_by_its_non_zero_positions_of_each_image() -> None:
    mask = torch.tensor([[[0.5, 0.0], [1.0, 0.5]], [[0.0, 0.0], [0.0, 0.25]]])
    expected = torch.tensor([[[0.5, 0.0], [1.0, 0.5]], [[0.0, 0.0], [0.0, 0.75]]]) / 3
    torch.testing.assert_close(normalise(mask), expected)


def test_an_empty_mask_stays_empty() -> None:
    assert not normalise(torch.zeros(2, 3, 3)).any()


def test_levels_of_one_size_are_kept_apart() -> None:
    """The release keeps masks by size and loses one: departure 15."""
    maps = split_levels(torch.arange(10.0).view(1, 10), ((2, 2), (2, 2), (1, 2)))
    assert [level.flatten().tolist() for level in maps] == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
