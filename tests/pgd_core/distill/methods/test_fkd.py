"""FKD: the neck's features under attention, their means, and what positions see of each other."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, cast

import pytest
import torch
from torch import Tensor, nn

from pgd_core.distill import GroundTruth, Scene, TeacherPredictions, TowerFeatures
from pgd_core.distill.methods.fkd import (
    TERMS,
    FeatureKnowledgeDistillation,
    FkdParameters,
    LevelAdapters,
    NonLocalBlock,
    build,
    level_losses,
    shared_attention,
)
from pgd_core.errors import InvalidSpec
from tests.pgd_core.distill.views import setting, view_of_neck

DETECTORS = ("fcos", "autoassign", "atss", "gfl", "ddod")
MakePredictions = Callable[..., TeacherPredictions]
Make = Callable[..., TowerFeatures]


def identity(adapters: LevelAdapters) -> LevelAdapters:
    """Adapters in float64 that change nothing."""
    for conv in (adapters.feature, adapters.spatial, adapters.relation):
        nn.init.dirac_(conv.weight)
    nn.init.eye_(adapters.channel.weight)
    for part in (adapters.feature, adapters.spatial, adapters.relation, adapters.channel):
        nn.init.zeros_(part.bias)
    return adapters.double()


def awake(block: NonLocalBlock) -> NonLocalBlock:
    """The block as if it had trained: it no longer gives back what it is given."""
    nn.init.normal_(block.out.weight)
    return block


def softmax(values: list[float], tau: float) -> list[float]:
    powers = [math.exp(value / tau) for value in values]
    return [len(values) * power / sum(powers) for power in powers]


def reference_attention(feature: list[Any], tau: float) -> list[list[float]]:
    """(C, HW) of one image's (C, HW): its spatial and its channel attention, multiplied later."""
    channels, area = len(feature), len(feature[0])
    strength = [sum(abs(feature[c][a]) for c in range(channels)) / channels for a in range(area)]
    of_channels = [sum(map(abs, of_channel)) / area for of_channel in feature]
    return [softmax(strength, tau), softmax(of_channels, tau)]


def norm(values: list[float]) -> float:
    return math.sqrt(sum(value**2 for value in values))


def reference_relation(block: NonLocalBlock, feature: Tensor) -> list[list[float]]:
    """(C, HW) of one image (C, H, W): the block, a pair of positions at a time."""

    def project(conv: nn.Conv2d, vector: list[float]) -> list[float]:
        weight, bias = conv.weight[..., 0, 0].tolist(), cast(Tensor, conv.bias).tolist()
        return [
            b + sum(w * v for w, v in zip(row, vector, strict=True))
            for row, b in zip(weight, bias, strict=True)
        ]

    _, height, width = feature.shape
    squares = []
    for top in range(0, height, block.stride):
        for left in range(0, width, block.stride):
            square = feature[:, top : top + block.stride, left : left + block.stride]
            squares.append(square.mean(dim=(1, 2)).tolist())
    keys = [project(block.key, square) for square in squares]
    values = [project(block.value, square) for square in squares]
    result = []
    for vector in feature.flatten(1).T.tolist():
        query = project(block.query, vector)
        seen = [0.0] * len(query)
        for key, value in zip(keys, values, strict=True):
            affinity = sum(q * k for q, k in zip(query, key, strict=True)) / len(keys)
            seen = [s + affinity * v for s, v in zip(seen, value, strict=True)]
        out = project(block.out, seen)
        result.append([v + o for v, o in zip(vector, out, strict=True)])
    return [list(channel) for channel in zip(*result, strict=True)]


def reference_losses(
    method: FeatureKnowledgeDistillation, teacher: list[Tensor], student: list[Tensor]
) -> list[float]:
    """FKD written a second time, with Python's numbers and loops; the adapters are torch's."""
    hyper, total = method.hyper, [0.0] * 4
    for t, s, module in zip(teacher, student, method.adapters, strict=True):
        adapters = cast(LevelAdapters, module)
        channel_means = adapters.channel(s.mean(dim=(2, 3))).tolist()
        spatial_means = adapters.spatial(s.mean(dim=1, keepdim=True)).flatten(1).tolist()
        adapted = adapters.feature(s).flatten(2).tolist()
        seen = torch.tensor(
            [reference_relation(adapters.student_block, image) for image in s], dtype=s.dtype
        )
        related = adapters.relation(seen.view_as(s)).flatten(2).tolist()
        for n, (of_teacher, of_student) in enumerate(
            zip(t.flatten(2).tolist(), s.flatten(2).tolist(), strict=True)
        ):
            channels, area = range(len(of_teacher)), range(len(of_teacher[0]))
            (p_t, a_t), (p_s, a_s) = (
                reference_attention(feature, hyper.tau) for feature in (of_teacher, of_student)
            )
            under_attention = 0.0
            for c in channels:
                for a in area:
                    mask = (p_t[a] + p_s[a]) / 2 * (a_t[c] + a_s[c]) / 2
                    under_attention += mask * (of_teacher[c][a] - adapted[n][c][a]) ** 2
            of_channels = [sum(of_teacher[c]) / len(area) - channel_means[n][c] for c in channels]
            of_cells = [
                sum(of_teacher[c][a] for c in channels) / len(channels) - spatial_means[n][a]
                for a in area
            ]
            seen_by_teacher = reference_relation(adapters.teacher_block, t[n])
            between = [seen_by_teacher[c][a] - related[n][c][a] for c in channels for a in area]
            total[0] += hyper.alpha * math.sqrt(under_attention) / len(t)
            total[1] += hyper.beta * norm(of_channels) / len(t)
            total[2] += hyper.beta * norm(of_cells) / len(t)
            total[3] += hyper.gamma * norm(between) / len(t)
    return total


@pytest.mark.parametrize("detector", DETECTORS)
def test_all_terms_agree_with_plain_loops(
    detector: str, make_predictions: MakePredictions, make_features: Make, truth: GroundTruth
) -> None:
    torch.manual_seed(0)
    sizes, strides = ((9, 5), (5, 3), (2, 2)), (8, 16, 32)
    method = build(setting(detector, strides=strides), {}).double()
    assert method.hyper == FkdParameters(alpha=4.2e-4, beta=2.4e-2, gamma=4.2e-4, tau=0.1)
    for adapters in method.adapters:
        awake(cast(LevelAdapters, adapters).teacher_block)
        awake(cast(LevelAdapters, adapters).student_block)
    teacher, student = (make_features(sizes, seed=seed).cls for seed in (0, 1))
    scene = Scene(make_predictions(sizes, strides), truth, iteration=0)
    losses = method(view_of_neck(teacher), view_of_neck(student), scene)
    expected = reference_losses(method, teacher, student)
    assert list(losses) == [f"loss_fkd_{term}" for term in TERMS]
    assert [loss.item() for loss in losses.values()] == pytest.approx(expected)


def test_one_cell_by_hand() -> None:
    """Attention is 1 on a single cell with equal channels: norms of (3, 4), of 3.5 and of 0.5."""
    adapters = identity(LevelAdapters(2, stride=1))
    teacher = torch.tensor([3.0, 4.0]).double().view(1, 2, 1, 1)
    student = torch.tensor([0.0, 0.0]).double().view(1, 2, 1, 1)
    weights = FkdParameters(alpha=1, beta=10, gamma=100, tau=1e6)
    losses = level_losses(teacher, student, adapters, weights)
    assert losses.tolist() == pytest.approx([5, 50, 35, 500], rel=1e-5)


def test_masks_are_the_mean_of_both_attentions() -> None:
    """Two cells, one channel: shares of exp(1) and exp(0) for the teacher, equal ones beside."""
    teacher = torch.tensor([[[[1.0, 0.0]]]])
    mask = shared_attention(teacher, torch.zeros(1, 1, 1, 2), tau=1.0)
    share = 2 * math.e / (1 + math.e)
    torch.testing.assert_close(mask, torch.tensor([[[[(share + 1) / 2, (3 - share) / 2]]]]))


def test_the_non_local_block_starts_as_nothing_and_sees_squares_of_its_stride() -> None:
    torch.manual_seed(0)
    block = NonLocalBlock(8, stride=4).double()
    feature = torch.randn(2, 8, 5, 6).double()
    assert block(feature).equal(feature)
    awake(block)
    expected = torch.tensor([reference_relation(block, image) for image in feature]).double()
    torch.testing.assert_close(block(feature).flatten(2), expected, rtol=1e-5, atol=1e-5)


def test_a_student_that_is_its_teacher_has_no_loss_where_adapters_change_nothing(
    make_features: Make,
) -> None:
    """While the blocks are equal, as at the start."""
    teacher, student = make_features().cls[0], make_features(requires_grad=True).cls[0]
    losses = level_losses(teacher, student, identity(LevelAdapters(3, 8)), FkdParameters())
    losses.sum().backward()
    assert losses.tolist() == [0, 0, 0, 0]
    assert student.grad is not None
    assert not student.grad.any()


def test_losses_do_not_depend_on_the_batch_size(make_features: Make) -> None:
    teacher, student = (make_features(images=1, seed=seed).cls[0] for seed in (0, 1))
    adapters = LevelAdapters(3, 1).double()
    once = level_losses(teacher, student, adapters, FkdParameters())
    twice = level_losses(
        teacher.repeat(2, 1, 1, 1), student.repeat(2, 1, 1, 1), adapters, FkdParameters()
    )
    torch.testing.assert_close(twice, once)


def test_the_gradients_pass_gradcheck(make_features: Make) -> None:
    """Of the norms and of all that trains; the attention, without gradient, is held by a tau."""
    torch.manual_seed(0)
    adapters = LevelAdapters(3, stride=2).double()
    awake(adapters.teacher_block)
    awake(adapters.student_block)
    teacher, student = (make_features(((2, 3),), images=1, seed=s).cls[0] for s in (0, 1))
    flat = FkdParameters(alpha=1, beta=1, gamma=1, tau=1e12)
    weights = list(adapters.parameters())

    def losses(features: Tensor, *_weights: Tensor) -> Tensor:
        return level_losses(teacher, features, adapters, flat)

    assert torch.autograd.gradcheck(losses, (student.requires_grad_(), *weights))


def test_options_that_were_given_win() -> None:
    assert build(setting("atss"), {"beta": 1.0}).hyper == FkdParameters(beta=1.0)
    with pytest.raises(InvalidSpec, match="tau is 0"):
        build(setting("atss"), {"tau": 0})
