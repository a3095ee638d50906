"""Eqs. 2-3: key positions and the Gaussian over them."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from pgd_core.distill import GroundTruth, TeacherPredictions
from pgd_core.distill.key_regions import gaussian_weights, key_positions, position_importance
from pgd_core.distill.quality import object_evidence, quality_scores


def weights_of(support: list[tuple[float, float]], padding: int = 0) -> Tensor:
    """Weights of one object's positions, with some positions that do not count."""
    points = torch.tensor([*support, *[(1e3, -1e3)] * padding], dtype=torch.float32)
    is_key = torch.arange(len(points)) < len(support)
    weights = gaussian_weights(points[None, None], is_key[None, None])[0, 0]
    assert not weights[len(support) :].any()
    return weights[: len(support)]


def reference_importance(quality: Tensor, points: Tensor, top_k: int) -> Tensor:
    """Eqs. 2-3 in plain loops, with a pseudo-inverse for a singular covariance."""
    importance = torch.zeros(quality.shape[0], quality.shape[2], dtype=torch.float64)
    for n in range(quality.shape[0]):
        for g in range(quality.shape[1]):
            order = sorted(range(len(points)), key=lambda a: -quality[n, g, a].item())
            keys = [a for a in order[:top_k] if quality[n, g, a] > 0]
            if not keys:
                continue
            offset = points[keys].double() - points[keys].double().mean(dim=0)
            inverse = torch.linalg.pinv(offset.T @ offset / len(keys), rtol=1e-8)
            for a, diff in zip(keys, offset, strict=True):
                weight = math.exp(-0.5 * (diff @ inverse @ diff).item())
                importance[n, a] = max(importance[n, a].item(), weight)
    return importance


def test_the_corners_of_a_square_weigh_exp_of_minus_one() -> None:
    """Sigma is the identity for (+-1, +-1), so that every squared distance is 2."""
    weights = weights_of([(-1, -1), (1, -1), (-1, 1), (1, 1)])
    torch.testing.assert_close(weights, torch.full((4,), math.exp(-1), dtype=torch.float64))


def test_the_centre_weighs_one_and_far_positions_least() -> None:
    weights = weights_of([(0, 0), (8, 0), (-8, 0), (0, 8), (0, -8), (16, 16), (-16, -16)])
    assert weights[0] == 1
    assert weights[5] == weights[6] == weights.min()


def test_weights_do_not_depend_on_the_scale_or_direction_of_the_support() -> None:
    support = torch.randint(0, 100, (12, 2), generator=torch.Generator().manual_seed(1)).double()
    turned = support @ torch.tensor([[3.0, 1.0], [-2.0, 5.0]], dtype=torch.float64) + 7
    is_key = torch.ones(1, 12, dtype=torch.bool)
    torch.testing.assert_close(
        gaussian_weights(support[None], is_key), gaussian_weights(turned[None], is_key)
    )


@pytest.mark.parametrize("padding", [0, 3])
def test_a_single_position_weighs_one(padding: int) -> None:
    assert weights_of([(100, 60)], padding).tolist() == [1]


def test_one_position_found_on_several_levels_weighs_one_on_each() -> None:
    assert weights_of([(1000.5, 60)] * 3, 2).tolist() == [1, 1, 1]


@pytest.mark.parametrize("second", [(108, 60), (100, 68), (123, 9)])
def test_two_positions_weigh_exp_of_minus_a_half(second: tuple[float, float]) -> None:
    """The release gives inf or NaN: departure 4."""
    expected = torch.full((2,), math.exp(-0.5), dtype=torch.float64)
    torch.testing.assert_close(weights_of([(100, 60), second], 4), expected)


def test_two_positions_seen_on_two_levels_weigh_as_two_positions() -> None:
    expected = torch.full((4,), math.exp(-0.5), dtype=torch.float64)
    torch.testing.assert_close(weights_of([(4, 4), (4, 4), (12, 12), (12, 12)]), expected)


@pytest.mark.parametrize("direction", [(8, 0), (0, 8), (8, 8), (24, -8)])
def test_positions_on_a_line_are_weighed_along_the_line(direction: tuple[int, int]) -> None:
    """At -1, 0, 1 the variance is 2/3 and the outer squared distances are 3/2."""
    line = [(500 + t * direction[0], 300 + t * direction[1]) for t in (-1, 0, 1)]
    expected = torch.tensor([math.exp(-0.75), 1, math.exp(-0.75)], dtype=torch.float64)
    torch.testing.assert_close(weights_of(line, 2), expected)


def test_a_long_thin_support_is_not_taken_for_a_line() -> None:
    """29 positions on a line of 1300 px and one a pixel beside it: that one is the outlier."""
    support = [(i * 46.0, 300.0) for i in range(29)]
    weights = weights_of([*support, (644.0, 301.0)])
    torch.testing.assert_close(weights[-1].item(), math.exp(-0.5 * 29))
    assert weights[14] > 0.98


def test_squared_distances_sum_to_positions_times_dimensions() -> None:
    """A property of maximum likelihood: it pins the 1/K of Eq. 2 against 1/(K - 1)."""
    support = torch.rand(1, 30, 2, generator=torch.Generator().manual_seed(2)) * 50
    weights = gaussian_weights(support, torch.ones(1, 30, dtype=torch.bool))
    torch.testing.assert_close((-2 * weights.log()).sum().item(), 60.0)


def test_a_far_position_of_a_very_large_support_keeps_a_weight_above_zero() -> None:
    support = [(0.0, 0.0)] * 999 + [(8.0, 0.0)]
    assert weights_of(support)[-1].float() > 0


def test_no_position_gives_no_weight() -> None:
    weights = gaussian_weights(torch.zeros(1, 2, 3, 2), torch.zeros(1, 2, 3, dtype=torch.bool))
    assert weights.tolist() == [[[0, 0, 0], [0, 0, 0]]]


def test_an_object_has_fewer_key_positions_than_k_if_fewer_have_quality() -> None:
    """The release takes K anywhere and drops those outside the box later: departure 3."""
    quality = torch.tensor([[[0.0, 0.3, 0.0, 0.9]]])
    scores, positions = key_positions(quality, 3)
    assert positions[scores > 0].tolist() == [3, 1]


def test_k_above_the_number_of_positions_takes_all() -> None:
    """The release crashes: departure 15."""
    quality = torch.ones(1, 1, 4)
    points = torch.tensor([[4.0, 4], [12, 4], [4, 12], [12, 12]])
    importance = position_importance(quality, points, 30)
    torch.testing.assert_close(importance, torch.full((1, 4), math.exp(-1)))


def test_where_objects_share_a_position_the_greater_weight_counts() -> None:
    points = torch.tensor([[0.0, 0], [8, 0], [16, 0]])
    quality = torch.tensor([[[1.0, 1, 1], [0, 0, 1]]])
    importance = position_importance(quality, points, 3)
    expected = torch.tensor([[math.exp(-0.75), 1, 1]])
    torch.testing.assert_close(importance, expected)


@pytest.mark.parametrize("top_k", [1, 2, 5, 30])
@pytest.mark.parametrize("seed", range(3))
def test_importance_agrees_with_plain_loops(
    make_predictions: Callable[..., TeacherPredictions],
    truth: GroundTruth,
    top_k: int,
    seed: int,
) -> None:
    predictions = make_predictions(seed=seed)
    quality = quality_scores(object_evidence(predictions, truth), 0.8)
    expected = reference_importance(quality, predictions.points, top_k)
    torch.testing.assert_close(position_importance(quality, predictions.points, top_k), expected)


def test_a_crowd_of_a_hundred_objects_agrees_with_plain_loops(
    make_predictions: Callable[..., TeacherPredictions],
) -> None:
    predictions = make_predictions(((12, 16), (6, 8), (3, 4)), (8, 16, 32))
    generator = torch.Generator().manual_seed(3)
    corners = torch.rand(2, 100, 2, generator=generator) * 90
    boxes = torch.cat([corners, corners + 2 + torch.rand(2, 100, 2, generator=generator) * 60], -1)
    truth = GroundTruth.from_lists(
        list(boxes),
        list(torch.randint(3, (2, 100), generator=generator)),
        [torch.zeros(0, 4)] * 2,
        [(96, 128)] * 2,
        "cpu",
    )
    quality = quality_scores(object_evidence(predictions, truth), 0.6)
    importance = position_importance(quality, predictions.points, 9)
    expected = reference_importance(quality, predictions.points, 9)
    torch.testing.assert_close(importance, expected)


def test_a_batch_without_objects_has_no_key_position() -> None:
    importance = position_importance(torch.zeros(2, 0, 6), torch.zeros(6, 2), 30)
    assert importance.tolist() == [[0] * 6] * 2
