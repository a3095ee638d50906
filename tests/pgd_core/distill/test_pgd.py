"""The whole loss against plain loops, and what hostile batches do to it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from pgd_core.distill import (
    GroundTruth,
    PgdParameters,
    PredictionGuidedDistillation,
    TeacherPredictions,
    TowerFeatures,
)
from pgd_core.distill.weighting import DistillationMasks, distillation_masks, split_levels
from pgd_core.errors import InvalidSpec
from tests.pgd_core.distill.views import pgd

KEYS = [
    "loss_pgd_cls_feature",
    "loss_pgd_cls_spatial_attention",
    "loss_pgd_cls_channel_attention",
    "loss_pgd_reg_feature",
    "loss_pgd_reg_attention",
]
PROFILES = [PgdParameters(top_k=7), PgdParameters(top_k=7, profile="paper")]
Make = Callable[..., TowerFeatures]
MakePredictions = Callable[..., TeacherPredictions]


def no_objects(images: int = 2) -> GroundTruth:
    none = [torch.zeros(0, 4)] * images
    return GroundTruth.from_lists(none, [torch.zeros(0)] * images, none, [(32, 48)] * images, "cpu")


def loss_and_gradients(
    parameters: PgdParameters,
    teacher: TowerFeatures,
    student: TowerFeatures,
    predictions: TeacherPredictions,
    truth: GroundTruth,
) -> tuple[dict[str, Tensor], list[Tensor]]:
    losses = pgd(parameters)(teacher, student, predictions, truth)
    levels = student.cls + student.reg
    return losses, list(torch.autograd.grad(sum(losses.values()), levels))  # type: ignore[arg-type]


def positions(feature: Tensor) -> Iterator[tuple[int, int, int]]:
    images, _, height, width = feature.shape
    return ((n, i, j) for n in range(images) for i in range(height) for j in range(width))


def softmax_attention(values: list[float], tau: float) -> list[float]:
    powers = [pow(2.718281828459045, value / tau) for value in values]
    return [len(values) * power / sum(powers) for power in powers]


def reference_losses(
    teacher: TowerFeatures,
    student: TowerFeatures,
    masks: DistillationMasks,
    sizes: tuple[tuple[int, int], ...],
    hyper: PgdParameters,
) -> dict[str, float]:
    """Eqs. 4-10 written a second time, with Python's numbers and loops."""
    total = dict.fromkeys(KEYS, 0.0)
    is_paper = hyper.profile == "paper"
    importance = split_levels(masks.cls_importance, sizes)
    background = split_levels(masks.background, sizes)
    for level, (t, s) in enumerate(zip(teacher.cls, student.cls, strict=True)):
        images, channels, height, width = t.shape
        area = height * width
        level_weight = 1 if is_paper else 1 + level / 4
        for n in range(images):
            keys = int(importance[level][n].count_nonzero())
            grounds = int(background[level][n].count_nonzero())
            strengths = [
                [
                    sum(map(abs, f[n, :, i, j].tolist())) / (1 if is_paper else channels)
                    for i in range(height)
                    for j in range(width)
                ]
                for f in (t, s)
            ]
            p_t, p_s = (softmax_attention(strength, hyper.tau) for strength in strengths)
            spatial = sum(abs(a - b) for a, b in zip(p_t, p_s, strict=True))
            total[KEYS[1]] += hyper.delta * spatial / images / (area if is_paper else 1)
            for i in range(height):
                for j in range(width):
                    f_t, f_s = t[n, :, i, j].tolist(), s[n, :, i, j].tolist()
                    a_t, a_s = (softmax_attention(list(map(abs, f)), hyper.tau) for f in (f_t, f_s))
                    weight = hyper.alpha * importance[level][n, i, j].item() / max(keys, 1)
                    weight += hyper.beta * background[level][n, i, j].item() / max(grounds, 1)
                    for c in range(channels):
                        error = p_t[i * width + j] * a_t[c] * (f_t[c] - f_s[c]) ** 2
                        total[KEYS[0]] += level_weight * weight * error / images
                        share = channels if is_paper else 1
                        distance = abs(a_t[c] - a_s[c]) / area / share / images
                        total[KEYS[2]] += hyper.delta * distance
    importance = split_levels(masks.reg_importance, sizes)
    for level, (t, s) in enumerate(zip(teacher.reg, student.reg, strict=True)):
        images, channels = t.shape[:2]
        for n, i, j in positions(t):
            weight = importance[level][n, i, j].item()
            if weight == 0:
                continue
            counted = importance[level][n] if is_paper else importance[level]
            keys = int(counted.count_nonzero()) * (images if is_paper else 1)
            f_t, f_s = t[n, :, i, j].tolist(), s[n, :, i, j].tolist()
            a_t, a_s = (softmax_attention(list(map(abs, f)), hyper.tau) for f in (f_t, f_s))
            for c in range(channels):
                error = hyper.gamma * weight * a_t[c] * (f_t[c] - f_s[c]) ** 2 / keys
                distance = hyper.delta * abs(a_t[c] - a_s[c]) / keys
                total[KEYS[3]] += error / (1 if is_paper else channels)
                total[KEYS[4]] += distance / (channels if is_paper else 1)
    return total


@pytest.mark.parametrize("parameters", PROFILES)
@pytest.mark.parametrize("seed", range(3))
def test_every_term_agrees_with_plain_loops(
    make_predictions: MakePredictions,
    make_features: Make,
    truth: GroundTruth,
    parameters: PgdParameters,
    seed: int,
) -> None:
    predictions = make_predictions(seed=seed)
    teacher, student = make_features(seed=seed), make_features(seed=seed + 10)
    losses = pgd(parameters)(teacher, student, predictions, truth)
    masks = distillation_masks(predictions, truth, parameters)
    expected = reference_losses(teacher, student, masks, predictions.level_sizes, parameters)
    assert {key: value.item() for key, value in losses.items()} == pytest.approx(expected)
    assert list(losses) == KEYS
    assert all(value > 0 for value in expected.values())


@pytest.mark.parametrize("parameters", PROFILES)
def test_a_student_equal_to_its_teacher_loses_exactly_nothing(
    make_predictions: MakePredictions,
    make_features: Make,
    truth: GroundTruth,
    parameters: PgdParameters,
) -> None:
    teacher, student = make_features(), make_features(requires_grad=True)
    losses, gradients = loss_and_gradients(parameters, teacher, student, make_predictions(), truth)
    assert [value.item() for value in losses.values()] == [0] * 5
    assert not any(gradient.any() for gradient in gradients)


@pytest.mark.parametrize("parameters", PROFILES)
def test_a_batch_without_objects_distils_background_and_attention_only(
    make_predictions: MakePredictions, make_features: Make, parameters: PgdParameters
) -> None:
    """The release crashes on GPU: departure 15."""
    student = make_features(seed=1, requires_grad=True)
    losses, gradients = loss_and_gradients(
        parameters, make_features(), student, make_predictions(), no_objects()
    )
    assert losses["loss_pgd_cls_feature"] > 0
    assert losses["loss_pgd_reg_feature"] == losses["loss_pgd_reg_attention"] == 0
    assert all(gradient.isfinite().all() for gradient in gradients)


def test_an_image_without_objects_beside_one_with_objects_has_no_key_positions(
    make_predictions: MakePredictions, make_features: Make
) -> None:
    truth = GroundTruth.from_lists(
        [torch.tensor([[2.0, 2, 30, 26]]), torch.zeros(0, 4)],
        [torch.tensor([0]), torch.zeros(0)],
        [torch.zeros(0, 4)] * 2,
        [(32, 48)] * 2,
        "cpu",
    )
    student = make_features(seed=1, requires_grad=True)
    _, gradients = loss_and_gradients(
        PgdParameters(), make_features(), student, make_predictions(), truth
    )
    of_reg = gradients[2:]
    assert of_reg[0][0].any()
    assert not any(level[1].any() for level in of_reg)


def test_objects_between_all_positions_have_no_key_position(
    make_predictions: MakePredictions, make_features: Make, truth: GroundTruth
) -> None:
    tiny = replace(truth, boxes=torch.tensor([1.0, 1, 2, 2]).expand(2, 2, 4))
    student = make_features(seed=1, requires_grad=True)
    losses, gradients = loss_and_gradients(
        PgdParameters(), make_features(), student, make_predictions(), tiny
    )
    assert losses["loss_pgd_reg_feature"] == 0
    assert all(gradient.isfinite().all() for gradient in gradients)


@pytest.mark.parametrize("top_k", [1, 2, 10_000])
def test_any_k_gives_finite_losses_and_gradients(
    make_predictions: MakePredictions, make_features: Make, truth: GroundTruth, top_k: int
) -> None:
    student = make_features(seed=1, requires_grad=True)
    losses, gradients = loss_and_gradients(
        PgdParameters(top_k=top_k), make_features(), student, make_predictions(), truth
    )
    assert all(value.isfinite() and value > 0 for value in losses.values())
    assert all(gradient.isfinite().all() for gradient in gradients)


@pytest.mark.parametrize(
    ("sizes", "strides"), [(((4, 6),), (8,)), (((4, 6), (4, 6)), (8, 8)), (((1, 1),), (32,))]
)
def test_one_level_and_levels_of_one_size_are_served(
    make_predictions: MakePredictions,
    make_features: Make,
    truth: GroundTruth,
    sizes: tuple[tuple[int, int], ...],
    strides: tuple[int, ...],
) -> None:
    predictions = make_predictions(sizes, strides)
    teacher, student = make_features(sizes), make_features(sizes, seed=1)
    losses = pgd(PgdParameters())(teacher, student, predictions, truth)
    masks = distillation_masks(predictions, truth, PgdParameters())
    expected = reference_losses(teacher, student, masks, sizes, PgdParameters())
    assert {key: value.item() for key, value in losses.items()} == pytest.approx(expected)


def test_features_on_ignore_regions_and_padding_move_no_feature_loss(
    make_predictions: MakePredictions, make_features: Make, truth: GroundTruth
) -> None:
    """Departure 17."""
    everything = torch.tensor([0.0, 0, 48, 32]).expand(2, 1, 4)
    teacher, student = make_features(), make_features(seed=1)
    for unusable in (
        replace(truth, ignored_boxes=everything),
        replace(truth, image_sizes=torch.zeros(2, 2)),
    ):
        losses = pgd(PgdParameters())(teacher, student, make_predictions(), unusable)
        assert losses["loss_pgd_cls_feature"] == losses["loss_pgd_reg_feature"] == 0
        assert losses["loss_pgd_reg_attention"] == 0


def test_the_teacher_gets_no_gradient(
    make_predictions: MakePredictions, make_features: Make, truth: GroundTruth
) -> None:
    teacher = make_features(requires_grad=True)
    student = make_features(seed=1, requires_grad=True)
    losses = pgd(PgdParameters())(teacher, student, make_predictions(), truth)
    sum(losses.values()).backward()  # type: ignore[union-attr]
    assert all(level.grad is None for level in teacher.cls + teacher.reg)
    assert all(level.grad is not None for level in student.cls + student.reg)


def test_two_runs_give_the_same_bits(
    make_predictions: MakePredictions, make_features: Make, truth: GroundTruth
) -> None:
    """The release adds noise to every position: departure 4."""
    runs = [
        loss_and_gradients(
            PgdParameters(),
            make_features(),
            make_features(seed=1, requires_grad=True),
            make_predictions(),
            truth,
        )
        for _ in range(2)
    ]
    (first, first_gradients), (second, second_gradients) = runs
    assert first == second
    assert all(a.equal(b) for a, b in zip(first_gradients, second_gradients, strict=True))


def test_channels_last_features_give_the_same_losses(
    make_predictions: MakePredictions, make_features: Make, truth: GroundTruth
) -> None:
    def channels_last(features: TowerFeatures) -> TowerFeatures:
        cls, reg = (
            [level.contiguous(memory_format=torch.channels_last) for level in tower]
            for tower in (features.cls, features.reg)
        )
        return TowerFeatures(cls, reg)

    teacher, student = make_features(), make_features(seed=1, requires_grad=True)
    inputs = make_predictions(), truth
    expected, gradients = loss_and_gradients(PgdParameters(), teacher, student, *inputs)
    losses = pgd(PgdParameters())(channels_last(teacher), channels_last(student), *inputs)
    for key in KEYS:
        torch.testing.assert_close(losses[key], expected[key])
    found = torch.autograd.grad(torch.stack(list(losses.values())).sum(), student.cls + student.reg)
    for ours, theirs in zip(found, gradients, strict=True):
        torch.testing.assert_close(ours, theirs)


def test_the_step_runs_under_torch_s_deterministic_algorithms(
    make_predictions: MakePredictions, make_features: Make, truth: GroundTruth
) -> None:
    was_on = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(True)
    try:
        student = make_features(seed=1, requires_grad=True)
        loss_and_gradients(PgdParameters(), make_features(), student, make_predictions(), truth)
    finally:
        torch.use_deterministic_algorithms(was_on)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_features_are_compared_in_float32_under_autocast(
    make_predictions: MakePredictions, make_features: Make, truth: GroundTruth, dtype: torch.dtype
) -> None:
    predictions = make_predictions()

    def cast(features: TowerFeatures, to: torch.dtype) -> TowerFeatures:
        return TowerFeatures([f.to(to) for f in features.cls], [f.to(to) for f in features.reg])

    teacher, student = cast(make_features(), dtype), cast(make_features(seed=1), dtype)
    method = pgd(PgdParameters())
    for level in student.cls + student.reg:
        level.requires_grad_()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        losses = method(teacher, student, predictions, truth)
        sum(losses.values()).backward()  # type: ignore[union-attr]
    exact = method(cast(teacher, torch.float64), cast(student, torch.float64), predictions, truth)
    for key in KEYS:
        torch.testing.assert_close(losses[key].double(), exact[key], rtol=1e-5, atol=0)
    for level in student.cls + student.reg:
        assert level.grad is not None
        assert level.grad.dtype == dtype
        assert level.grad.isfinite().all()


def test_the_gradient_of_the_whole_loss_passes_gradcheck(
    make_predictions: MakePredictions, make_features: Make, truth: GroundTruth
) -> None:
    sizes = ((2, 3), (1, 2))
    predictions, teacher = make_predictions(sizes, (16, 24)), make_features(sizes)
    student = make_features(sizes, seed=1)
    method = pgd(PgdParameters(delta=0.1))

    def total(*levels: Tensor) -> Tensor:
        features = TowerFeatures(list(levels[:2]), list(levels[2:]))
        return torch.stack(list(method(teacher, features, predictions, truth).values())).sum()

    # Away from 0, where abs has its kink.
    levels = [(level + 0.5).requires_grad_() for level in student.cls + student.reg]
    assert torch.autograd.gradcheck(total, levels)


def test_the_method_adds_nothing_to_a_checkpoint() -> None:
    """The release stores the teacher and the last activations: departure 16."""
    method = PredictionGuidedDistillation(PgdParameters())
    assert not method.state_dict()
    assert not list(method.parameters())


def test_towers_of_different_width_are_refused_before_anything_is_computed(
    make_predictions: MakePredictions, make_features: Make, truth: GroundTruth
) -> None:
    method = pgd(PgdParameters())
    with pytest.raises(InvalidSpec, match="same width"):
        method(make_features(channels=4), make_features(channels=3), make_predictions(), truth)
