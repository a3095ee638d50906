"""The hand-written gradients against gradcheck and against plain autograd."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from pgd_core.distill.attention import channel_attention
from pgd_core.distill.distances import weighted_attention_distance, weighted_squared_error

TAU = 0.8
SHAPES = [(2, 4, 3, 2), (2, 5, 7), (1, 1, 1, 1)]


def inputs(shape: tuple[int, ...]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Student (with gradient), teacher, the teacher's attention, and weights, some of them 0."""
    generator = torch.Generator().manual_seed(0)
    student, teacher = (
        torch.randn(shape, generator=generator, dtype=torch.float64) for _ in range(2)
    )
    weight = torch.rand(shape[0], 1, *shape[2:], generator=generator, dtype=torch.float64)
    return student.requires_grad_(), teacher, channel_attention(teacher, TAU), weight.round_()


def plain_squared_error(student: Tensor, teacher: Tensor, attention: Tensor, w: Tensor) -> Tensor:
    return (w * attention * (teacher - student) ** 2).sum()


def plain_attention_distance(student: Tensor, attention: Tensor, w: Tensor, tau: float) -> Tensor:
    own = student.shape[1] * torch.softmax(student.abs() / tau, dim=1)
    return (w * (attention - own).abs()).sum()


def test_squared_error_by_hand() -> None:
    """3 * (2 * 1^2 + 0.5 * 2^2) = 12 at one position, nothing at the other."""
    student = torch.tensor([[[0.0, 9], [3, 9]]])
    teacher = torch.tensor([[[1.0, 7], [1, 7]]])
    attention = torch.tensor([[[2.0, 1], [0.5, 1]]])
    weight = torch.tensor([[[3.0, 0]]])
    assert weighted_squared_error(student, teacher, attention, weight).item() == 12


def test_attention_distance_by_hand() -> None:
    """A flat student has attention (1, 1); 0.5 * (0.5 + 0.5)."""
    distance = weighted_attention_distance(
        torch.zeros(1, 2, 1), torch.tensor([[[0.5], [1.5]]]), torch.tensor([[[0.5]]]), TAU
    )
    assert distance.item() == 0.5


@pytest.mark.parametrize("shape", SHAPES)
def test_gradient_of_the_squared_error_passes_gradcheck(shape: tuple[int, ...]) -> None:
    assert torch.autograd.gradcheck(weighted_squared_error, inputs(shape))


@pytest.mark.parametrize("shape", SHAPES)
def test_gradient_of_the_attention_distance_passes_gradcheck(shape: tuple[int, ...]) -> None:
    student, _, attention, weight = inputs(shape)
    if shape[1] == 1:
        attention = attention + 1  # one channel always has attention 1, where abs has its kink
    assert torch.autograd.gradcheck(weighted_attention_distance, (student, attention, weight, TAU))


@pytest.mark.parametrize("shape", SHAPES)
def test_squared_error_equals_plain_autograd(shape: tuple[int, ...]) -> None:
    student, *rest = inputs(shape)
    ours, plain = weighted_squared_error(student, *rest), plain_squared_error(student, *rest)
    torch.testing.assert_close(ours, plain)
    grads = [torch.autograd.grad(3 * value, student)[0] for value in (ours, plain)]
    torch.testing.assert_close(*grads)


@pytest.mark.parametrize("shape", SHAPES)
def test_attention_distance_equals_plain_autograd_on_relu_s_zeros_too(
    shape: tuple[int, ...],
) -> None:
    student, _, attention, weight = inputs(shape)
    student = student.detach().relu().requires_grad_()
    ours = weighted_attention_distance(student, attention, weight, TAU)
    plain = plain_attention_distance(student, attention, weight, TAU)
    torch.testing.assert_close(ours, plain)
    grads = [torch.autograd.grad(3 * value, student)[0] for value in (ours, plain)]
    torch.testing.assert_close(*grads)


def test_equal_features_have_distance_and_gradient_exactly_zero() -> None:
    student = torch.randn(2, 8, 5, 5, generator=torch.Generator().manual_seed(0)).requires_grad_()
    teacher = student.detach().clone()
    attention = channel_attention(teacher, TAU)
    weight = torch.rand(2, 1, 5, 5)
    error = weighted_squared_error(student, teacher, attention, weight)
    distance = weighted_attention_distance(student, attention, weight, TAU)
    assert error.item() == 0
    assert distance.item() == 0
    (gradient,) = torch.autograd.grad(error + distance, student)
    assert not gradient.any()


def test_no_positions_give_zero_with_a_gradient() -> None:
    student = torch.zeros(2, 3, 0, requires_grad=True)
    nothing, weight = torch.zeros(2, 3, 0), torch.zeros(2, 1, 0)
    total = weighted_squared_error(student, nothing, nothing, weight)
    total = total + weighted_attention_distance(student, nothing, weight, TAU)
    total.backward()
    assert total.item() == 0
    assert student.grad is not None


def test_nothing_of_a_feature_map_s_size_is_kept_that_did_not_exist() -> None:
    student, teacher, attention, weight = inputs((2, 4, 3, 2))
    existing = {t.data_ptr() for t in (student, teacher, attention, weight)}
    kept: list[int] = []

    def note(tensor: Tensor) -> Tensor:
        kept.append(tensor.data_ptr())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        weighted_squared_error(student, teacher, attention, weight)
        weighted_attention_distance(student, attention, weight, TAU)
    assert kept
    assert set(kept) <= existing
