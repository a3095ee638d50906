"""FKD: attention of both detectors, pooled features and relations."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from pgd_core.distill import GroundTruth, Scene, TeacherPredictions, TowerFeatures
from pgd_core.distill.methods.fkd import (
    FkdLevel,
    FkdParameters,
    NonLocal,
    build,
    joint_attention,
)
from tests.pgd_core.distill.views import setting, view_of_neck

MakePredictions = Callable[..., TeacherPredictions]
Make = Callable[..., TowerFeatures]


def softmax(values: list[float], scale: int) -> list[float]:
    exps = [math.exp(value - max(values)) for value in values]
    return [scale * value / sum(exps) for value in exps]


def reference_attention(feature: Tensor, tau: float) -> tuple[list[float], list[float]]:
    """M_s and M_c of one image, with Python's numbers."""
    channels, height, width = feature.shape
    cells = [(i, j) for i in range(height) for j in range(width)]
    strength = [
        sum(abs(feature[c, i, j].item()) for c in range(channels)) / channels / tau
        for i, j in cells
    ]
    of_channel = [
        sum(abs(feature[c, i, j].item()) for i, j in cells) / len(cells) / tau
        for c in range(channels)
    ]
    return softmax(strength, len(cells)), softmax(of_channel, channels)


def reference_losses(level: FkdLevel, teacher: Tensor, student: Tensor) -> list[float]:
    """The three losses of one level written a second time; the layers are torch's."""
    images, channels, height, width = teacher.shape
    hyper, adapted = level.hyper, level.feature(student)
    total = 0.0
    for n in range(images):
        maps = [reference_attention(f[n], hyper.tau) for f in (teacher, student)]
        for c in range(channels):
            for i in range(height):
                for j in range(width):
                    m_s = sum(spatial[i * width + j] for spatial, _ in maps) / 2
                    m_c = sum(channel[c] for _, channel in maps) / 2
                    d = teacher[n, c, i, j].item() - adapted[n, c, i, j].item()
                    total += m_s * m_c * d * d

    def norm(difference: Tensor) -> float:
        return math.sqrt(sum(value**2 for value in difference.flatten().tolist()))

    channel = norm(teacher.mean((2, 3)) - level.channel(student.mean((2, 3))))
    spatial = norm(teacher.mean(1, True) - level.spatial(student.mean(1, True)))
    relation = norm(
        level.teacher_relations(teacher) - level.relation(level.student_relations(student))
    )
    return [
        hyper.alpha * math.sqrt(total),
        hyper.beta * (channel + spatial),
        hyper.gamma * relation,
    ]


@pytest.mark.parametrize("detector", ["fcos", "autoassign", "atss", "gfl", "ddod"])
def test_the_losses_agree_with_plain_loops(
    detector: str, make_predictions: MakePredictions, make_features: Make, truth: GroundTruth
) -> None:
    torch.manual_seed(0)
    method = build(setting(detector), {}).double()
    teacher, student = make_features(seed=0).cls, make_features(seed=1).cls
    scene = Scene(make_predictions(), truth, iteration=0)
    losses = method(view_of_neck(teacher), view_of_neck(student), scene)
    expected = [
        sum(terms)
        for terms in zip(
            *(
                reference_losses(level, t, s)
                for level, t, s in zip(method.levels, teacher, student, strict=True)
            ),
            strict=True,
        )
    ]
    assert [value.item() for value in losses.values()] == pytest.approx(expected)
    assert list(losses) == ["loss_fkd_feature", "loss_fkd_pooled", "loss_fkd_relation"]


def identity(level: FkdLevel) -> FkdLevel:
    for layer in (level.feature, level.spatial, level.relation):
        nn.init.dirac_(layer.weight)
        nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
    nn.init.eye_(level.channel.weight)
    nn.init.zeros_(level.channel.bias)
    return level


def test_a_student_that_is_its_teacher_has_no_loss_and_no_gradient(make_features: Make) -> None:
    level = identity(FkdLevel(3, 1, FkdParameters())).double()
    teacher = make_features().cls[0]
    student = teacher.clone().requires_grad_()
    losses = level(teacher, student)
    assert losses.eq(0).all()
    losses.sum().backward()
    assert student.grad is not None
    assert student.grad.eq(0).all()


def test_attention_is_the_mean_of_both_detectors_worked_by_hand() -> None:
    teacher = torch.tensor([[[[math.log(3.0), 0.0]]]], dtype=torch.float64)
    flat = torch.zeros_like(teacher)
    attention = joint_attention(teacher, flat, tau=1.0)
    assert attention.flatten().tolist() == pytest.approx([(1.5 + 1) / 2, (0.5 + 1) / 2])


def test_the_relations_of_a_position_are_what_it_attends_to() -> None:
    torch.manual_seed(0)
    block = NonLocal(4, 1).double()
    nn.init.normal_(block.out.weight)
    feature = torch.randn(1, 4, 2, 3, dtype=torch.float64)
    found = block(feature)
    cells = [(i, j) for i in range(2) for j in range(3)]
    query, key, value = (layer(feature)[0] for layer in (block.query, block.key, block.value))
    for i, j in cells:
        scores = [(query[:, i, j] @ key[:, k, m]).item() for k, m in cells]
        shares = softmax(scores, 1)
        seen = torch.stack([s * value[:, k, m] for s, (k, m) in zip(shares, cells, strict=True)])
        added = block.out(seen.sum(0)[None, :, None, None])[0, :, 0, 0]
        torch.testing.assert_close(found[0, :, i, j], feature[0, :, i, j] + added)


def test_a_pooled_block_gives_a_smaller_map_and_begins_as_the_identity() -> None:
    feature = torch.arange(15.0).view(1, 1, 3, 5)
    found = NonLocal(1, 2)(feature)
    assert found.flatten().tolist() == [6, 8, 9, 11, 13, 14]


def test_the_gradient_passes_gradcheck(make_features: Make) -> None:
    torch.manual_seed(0)
    level = FkdLevel(3, 1, replace(FkdParameters(), tau=1e6)).double()
    teacher = make_features(((1, 2),), seed=3).cls[0] + 1
    student = (make_features(((1, 2),), seed=4).cls[0] + 1).requires_grad_()
    # At an endless temperature the attention, which has no gradient here, is 1 everywhere.
    assert torch.autograd.gradcheck(lambda s: level(teacher, s).sum(), student)
