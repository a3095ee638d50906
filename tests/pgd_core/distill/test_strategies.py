"""Every foreground strategy by hand, against plain loops, and at its limits."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from pgd_core.distill import STRATEGIES, GroundTruth, PgdParameters, TeacherPredictions
from pgd_core.distill.parameters import Strategy
from pgd_core.distill.quality import object_evidence, quality_scores
from pgd_core.distill.strategies import (
    Candidates,
    density_weights,
    foreground_importance,
    most_positions,
)
from pgd_core.distill.weighting import distillation_masks
from tests.pgd_core.distill.conftest import grid_points

MakePredictions = Callable[..., TeacherPredictions]
GRID = ((5, 5),)  # of stride 8: positions at 4, 12, 20, 28, 36
WHOLE_GRID = [0.0, 0, 40, 40]


def one_object(box: list[float], images: int = 1) -> GroundTruth:
    none = [torch.zeros(0, 4)] * images
    return GroundTruth.from_lists(
        [torch.tensor([box])] * images,
        [torch.tensor([0])] * images,
        none,
        [(40, 40)] * images,
        "cpu",
    )


def teacher_that_scores(scores: list[float]) -> TeacherPredictions:
    """On the grid of five by five; class probabilities are the scores and boxes are perfect."""
    points = grid_points(GRID, (8,))
    probs = torch.tensor(scores, dtype=torch.float64).view(1, 25, 1)
    boxes = torch.tensor(WHOLE_GRID, dtype=torch.float64).expand(1, 25, 4)
    return TeacherPredictions(points, boxes, torch.logit(probs), GRID)


def importance_of(
    strategy: Strategy, truth: GroundTruth, scores: list[float] | None = None, **more: float
) -> Tensor:
    """The classification importance on the grid: (5, 5)."""
    hyper = PgdParameters(strategy=strategy, xi_cls=0, **more)  # type: ignore[arg-type]
    predictions = teacher_that_scores(scores or [0.5] * 25)
    return distillation_masks(predictions, truth, hyper).cls_importance.view(5, 5)


def densities(support: list[tuple[float, float]], padding: int = 0) -> Tensor:
    """Weights of one object's positions, with some positions that do not count."""
    points = torch.tensor([*support, *[(1e3, -1e3)] * padding], dtype=torch.float32)
    is_key = torch.arange(len(points)) < len(support)
    weights = density_weights(points[None, None], is_key[None, None])[0, 0]
    assert not weights[len(support) :].any()
    return weights[: len(support)]


def reference_density(keys: Tensor) -> list[float]:
    """Kernel density over its maximum, with a pseudo-inverse for a singular covariance."""
    offset = keys - keys.mean(dim=0)
    sigma = offset.T @ offset / len(keys)
    rank = int(torch.linalg.matrix_rank(sigma, rtol=1e-8)) if sigma.any() else 0
    h = len(keys) ** (-1 / (max(rank, 1) + 4))
    inverse = torch.linalg.pinv(h * h * sigma, rtol=1e-8)
    density = [
        sum(math.exp(-0.5 * ((x - y) @ inverse @ (x - y)).item()) for y in keys) for x in keys
    ]
    return [value / max(density) for value in density]


def reference_gaussian(keys: Tensor) -> list[float]:
    offset = keys - keys.mean(dim=0)
    inverse = torch.linalg.pinv(offset.T @ offset / len(keys), rtol=1e-8)
    return [math.exp(-0.5 * (d @ inverse @ d).item()) for d in offset]


def of_one_object(
    strategy: Strategy, points: Tensor, box: list[float], inside: list[int], q: Tensor, top_k: int
) -> dict[int, float]:
    """The importance of each foreground position of one object, by position."""
    x1, y1, x2, y2 = box
    middle, (width, height) = ((x1 + x2) / 2, (y1 + y2) / 2), (x2 - x1, y2 - y1)
    off = {a: [points[a, axis].item() - middle[axis] for axis in (0, 1)] for a in inside}
    if strategy == "box":
        return dict.fromkeys(inside, 1.0)
    if strategy == "box_gauss":
        return {
            a: math.exp(-0.5 * ((dx / width * 4) ** 2 + (dy / height * 4) ** 2))
            for a, (dx, dy) in off.items()
        }
    if strategy == "centre":
        chosen = [
            a for a, (dx, dy) in off.items() if abs(dx) < 0.1 * width and abs(dy) < 0.1 * height
        ]
        if not chosen:
            distance = {a: dx * dx + dy * dy for a, (dx, dy) in off.items()}
            chosen = [a for a in inside if distance[a] == min(distance.values())]
        return dict.fromkeys(chosen, 1.0)
    if strategy == "quality":
        return {a: q[a].item() for a in inside}
    keys = [a for a in sorted(inside, key=lambda a: -q[a].item())[:top_k] if q[a] > 0]
    if strategy == "topk_eq" or not keys:
        return dict.fromkeys(keys, 1.0)
    weigh = reference_density if strategy == "kde" else reference_gaussian
    return dict(zip(keys, weigh(points[keys].double()), strict=True))


def reference_importance(
    predictions: TeacherPredictions, truth: GroundTruth, hyper: PgdParameters, xi: float
) -> Tensor:
    """Table 5 in plain loops: one object after the other, the greatest value a position."""
    evidence = object_evidence(predictions, truth)
    quality = quality_scores(evidence, xi)
    result = torch.zeros(quality.shape[0], quality.shape[2], dtype=torch.float64)
    for n, g in ((n, g) for n in range(len(quality)) for g in range(quality.shape[1])):
        inside = [a for a in range(quality.shape[2]) if evidence.eligible[n, g, a]]
        box = truth.boxes[n, g].double().tolist()
        values = of_one_object(
            hyper.strategy, predictions.points, box, inside, quality[n, g], hyper.top_k
        )
        for a, value in values.items():
            result[n, a] = max(result[n, a].item(), value)
    return result


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("top_k", [2, 5, 30])
@pytest.mark.parametrize("seed", range(2))
def test_each_strategy_agrees_with_plain_loops(
    make_predictions: MakePredictions, truth: GroundTruth, strategy: Strategy, top_k: int, seed: int
) -> None:
    hyper = PgdParameters(strategy=strategy, top_k=top_k)
    predictions = make_predictions(seed=seed)
    masks = distillation_masks(predictions, truth, hyper)
    for found, xi in ((masks.cls_importance, 0.8), (masks.reg_importance, 0.6)):
        expected = reference_importance(predictions, truth, hyper, xi)
        torch.testing.assert_close(found, expected)
        assert expected.count_nonzero() > 0


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_crowd_of_random_objects_agrees_with_plain_loops(
    make_predictions: MakePredictions, strategy: Strategy
) -> None:
    predictions = make_predictions(((12, 16), (6, 8), (3, 4)), (8, 16, 32))
    generator = torch.Generator().manual_seed(3)
    corners = torch.rand(2, 20, 2, generator=generator) * 90
    boxes = torch.cat([corners, corners + 2 + torch.rand(2, 20, 2, generator=generator) * 60], -1)
    truth = GroundTruth.from_lists(
        list(boxes), [torch.zeros(20)] * 2, [torch.zeros(0, 4)] * 2, [(96, 128)] * 2, "cpu"
    )
    hyper = PgdParameters(strategy=strategy, top_k=9)
    expected = reference_importance(predictions, truth, hyper, 0.8)
    found = distillation_masks(predictions, truth, hyper).cls_importance
    torch.testing.assert_close(found, expected)


def test_box_weighs_every_position_in_the_box_alike() -> None:
    importance = importance_of("box", one_object([8, 0, 32, 16]))
    expected = torch.zeros(5, 5, dtype=torch.float64)
    expected[:2, 1:4] = 1
    assert importance.equal(expected)


def test_box_gauss_has_a_standard_deviation_of_a_quarter_of_each_side() -> None:
    """On a box of 40 x 24, the next positions lie 8 / 10 and 8 / 6 standard deviations away."""
    importance = importance_of("box_gauss", one_object([0, 8, 40, 32]))
    assert importance[2, 2] == 1
    assert importance[2, 3].item() == pytest.approx(math.exp(-0.5 * 0.8**2))
    assert importance[3, 2].item() == pytest.approx(math.exp(-0.5 * (8 / 6) ** 2))
    assert importance[2, 4].item() == pytest.approx(math.exp(-0.5 * 1.6**2))
    assert not importance[0].any()
    assert not importance[4].any()


def test_centre_takes_the_middle_fifth_of_each_side() -> None:
    """0.2 of 100 x 40 around (20, 20): x from 10 to 30 and y from 16 to 24."""
    importance = importance_of("centre", one_object([-30, 0, 70, 40]))
    expected = torch.zeros(5, 5, dtype=torch.float64)
    expected[2, 1:4] = 1
    assert importance.equal(expected)


def test_centre_takes_the_nearest_position_where_the_middle_holds_none() -> None:
    importance = importance_of("centre", one_object([2, 2, 16, 16]))
    assert importance.nonzero().tolist() == [[1, 1]]


def test_centre_takes_all_of_several_nearest_positions() -> None:
    """Four positions around (16, 16)."""
    importance = importance_of("centre", one_object([6, 6, 26, 26]))
    assert importance.nonzero().tolist() == [[1, 1], [1, 2], [2, 1], [2, 2]]


def test_centre_leaves_an_ignored_middle_for_the_nearest_position_beside_it() -> None:
    truth = replace(one_object(WHOLE_GRID), ignored_boxes=torch.tensor([[[16.0, 0, 40, 40]]]))
    assert importance_of("centre", truth).nonzero().tolist() == [[2, 1]]


def test_quality_weighs_by_eq_1() -> None:
    """xi = 0: the class probability itself."""
    scores = [(1 + a) / 30 for a in range(25)]
    importance = importance_of("quality", one_object([0, 8, 40, 16]), scores)
    torch.testing.assert_close(importance[1], torch.tensor(scores[5:10], dtype=torch.float64))
    assert importance.count_nonzero() == 5


def test_topk_eq_weighs_the_k_best_alike() -> None:
    scores = [(1 + a) / 30 for a in range(25)]
    importance = importance_of("topk_eq", one_object([0, 0, 40, 16]), scores, top_k=3)
    assert importance.unique().tolist() == [0, 1]
    assert importance.nonzero().tolist() == [[1, 2], [1, 3], [1, 4]]


def test_kde_weighs_a_cluster_above_an_outlier_by_hand() -> None:
    """On a line at 0, 0, 8: variance 128/9, h = 3^(-1/5), kernel k at 8 px. The densities are
    2 + k twice and 1 + 2k."""
    k = math.exp(-0.5 * 64 / (128 / 9) * 3 ** (2 / 5))
    expected = torch.tensor([1, 1, (1 + 2 * k) / (2 + k)], dtype=torch.float64)
    torch.testing.assert_close(densities([(4, 4), (4, 4), (12, 4)], 2), expected)


def test_kde_in_the_plane_follows_scott_s_rule_by_hand() -> None:
    """(+-8, 0) and (0, +-8): variances 32, h^2 = 4^(-1/3). With a fifth position in the middle
    both become 128/5 and n = 5."""
    assert densities([(8, 0), (-8, 0), (0, 8), (0, -8)]).tolist() == pytest.approx([1] * 4)
    step = 0.5 / (128 / 5) * 5 ** (1 / 3)
    near, beside, across = (math.exp(-step * d2) for d2 in (64, 128, 256))
    arm = (1 + near + 2 * beside + across) / (1 + 4 * near)
    found = densities([(0, 0), (8, 0), (-8, 0), (0, 8), (0, -8)])
    assert found.tolist() == pytest.approx([1, arm, arm, arm, arm])


@pytest.mark.parametrize(
    "support", [[(5.0, 7.0)], [(5.0, 7.0)] * 4, [(5.0, 7.0), (13.0, 7.0)], [(0.0, 0), (24, -8)]]
)
def test_kde_of_positions_that_are_all_alike_weighs_each_one(
    support: list[tuple[float, float]],
) -> None:
    assert densities(support, 3).tolist() == pytest.approx([1] * len(support))


@pytest.mark.parametrize("direction", [(8, 0), (0, 8), (8, 8), (24, -8)])
def test_kde_of_positions_on_a_line_is_taken_along_the_line(direction: tuple[int, int]) -> None:
    line = [(500.0 + t * direction[0], 300.0 + t * direction[1]) for t in (-1, 0, 1, 4)]
    expected = reference_density(torch.tensor(line, dtype=torch.float64))
    assert densities(line, 2).tolist() == pytest.approx(expected)
    straight = densities([(t * 8.0, 0) for t in (-1, 0, 1, 4)])
    assert densities(line).tolist() == pytest.approx(straight.tolist())


def test_kde_does_not_depend_on_the_scale_or_direction_of_the_support() -> None:
    support = torch.randint(0, 100, (12, 2), generator=torch.Generator().manual_seed(1)).double()
    turned = support @ torch.tensor([[3.0, 1.0], [-2.0, 5.0]], dtype=torch.float64) + 7
    is_key = torch.ones(1, 12, dtype=torch.bool)
    torch.testing.assert_close(
        density_weights(support[None], is_key), density_weights(turned[None], is_key)
    )


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_nothing_outside_the_box_on_padding_or_in_an_ignore_region_is_foreground(
    make_predictions: MakePredictions, truth: GroundTruth, strategy: Strategy
) -> None:
    predictions, hyper = make_predictions(), PgdParameters(strategy=strategy)
    masks = distillation_masks(predictions, truth, hyper)
    eligible = object_evidence(predictions, truth).eligible.any(dim=1)
    for importance in (masks.cls_importance, masks.reg_importance):
        assert not importance[~eligible].any()
        assert 0 < importance.max() <= 1
    everything = torch.tensor([0.0, 0, 48, 32]).expand(2, 1, 4)
    for unusable in (
        replace(truth, ignored_boxes=everything),
        replace(truth, image_sizes=torch.zeros(2, 2)),
        replace(truth, valid=torch.zeros(2, 2, dtype=torch.bool)),
    ):
        masks = distillation_masks(predictions, unusable, hyper)
        assert not masks.cls_importance.any()
        assert not masks.reg_importance.any()


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_batch_without_objects_has_no_foreground(
    make_predictions: MakePredictions, strategy: Strategy
) -> None:
    none = [torch.zeros(0, 4)] * 2
    truth = GroundTruth.from_lists(none, [torch.zeros(0)] * 2, none, [(32, 48)] * 2, "cpu")
    masks = distillation_masks(make_predictions(), truth, PgdParameters(strategy=strategy))
    assert masks.cls_importance.shape == masks.reg_importance.shape == (2, 30)
    assert not masks.cls_importance.any()
    assert masks.background.all()


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("box", [[5.0, 5, 7, 7], [5, 5, 5, 5], [30, 30, 10, 10]])
def test_an_object_between_all_positions_has_no_foreground(
    strategy: Strategy, box: list[float]
) -> None:
    assert not importance_of(strategy, one_object(box)).any()


@pytest.mark.parametrize("strategy", ["box", "box_gauss", "centre", "topk_eq", "kde", "pgw"])
def test_an_object_on_one_position_has_that_one(strategy: Strategy) -> None:
    importance = importance_of(strategy, one_object([2, 2, 6, 6]))
    assert importance.nonzero().tolist() == [[0, 0]]
    assert importance[0, 0] == 1


@pytest.mark.parametrize("strategy", ["topk_eq", "kde", "pgw"])
def test_k_above_the_number_of_positions_takes_all(strategy: Strategy) -> None:
    assert (importance_of(strategy, one_object(WHOLE_GRID), top_k=1000) > 0).all()


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_where_objects_share_positions_the_greater_importance_counts(
    make_predictions: MakePredictions, truth: GroundTruth, strategy: Strategy
) -> None:
    predictions, hyper = make_predictions(), PgdParameters(strategy=strategy, top_k=9)
    masks = distillation_masks(predictions, truth, hyper)
    alone = [
        distillation_masks(
            predictions,
            replace(truth, valid=truth.valid & (torch.arange(2) == g)),
            hyper,
        ).cls_importance
        for g in range(2)
    ]
    assert (alone[0] * alone[1]).any() == (strategy != "centre")
    torch.testing.assert_close(masks.cls_importance, alone[0].maximum(alone[1]))


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_importance_has_the_type_of_the_evidence(
    make_predictions: MakePredictions, truth: GroundTruth, strategy: Strategy
) -> None:
    """Half-precision predictions are weighed in float32, on points of any type."""
    predictions = make_predictions()
    half = replace(
        predictions,
        boxes=predictions.boxes.half(),
        class_logits=predictions.class_logits.bfloat16(),
    )
    evidence = object_evidence(half, truth)
    candidates = Candidates(evidence, half.points, truth.boxes, 0.8, 9)
    assert foreground_importance(strategy, candidates).dtype == torch.float32


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_no_image_has_more_foreground_than_is_reckoned_with(
    make_predictions: MakePredictions, truth: GroundTruth, strategy: Strategy
) -> None:
    hyper = PgdParameters(strategy=strategy, top_k=3)
    masks = distillation_masks(make_predictions(), truth, hyper)
    found = masks.reg_importance.count_nonzero(dim=1).max()
    assert found <= most_positions(hyper, objects=2, positions=30)
    assert most_positions(replace(hyper, top_k=100), objects=2, positions=30) == 30
