"""Eqs. 5, 6, 8, 9 on one level, by hand and where the profiles part."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from pgd_core.distill import PgdParameters
from pgd_core.distill.losses import cls_losses, reg_losses

RELEASE = PgdParameters(alpha=0.3, beta=0.2, gamma=0.7, delta=0.5)
PAPER = replace(RELEASE, profile="paper")
FEATURE, SPATIAL, CHANNEL = range(3)


def flat_teacher(images: int = 1, channels: int = 2, width: int = 4) -> Tensor:
    """Attention 1 everywhere, so that only masks and errors count."""
    return torch.zeros(images, channels, 1, width)


def masks(images: int = 1) -> tuple[Tensor, Tensor]:
    """Importance 1 and 0.5 at positions 0 and 1; background at position 3; 2 is neither."""
    importance = torch.tensor([1.0, 0.5, 0, 0]).expand(images, 1, 4)
    return importance, torch.tensor([0.0, 0, 0, 1]).expand(images, 1, 4)


@pytest.mark.parametrize("hyper", [RELEASE, PAPER])
def test_feature_loss_weighs_foreground_and_background_by_hand(hyper: PgdParameters) -> None:
    """0.3 * (1 + 0.5) / 2 * 2 channels * 1^2, and 0.2 * 1 / 1 * 2 * 1^2; position 2 is nothing."""
    student = torch.ones(1, 2, 1, 4)
    losses = cls_losses(flat_teacher(), student, *masks(), hyper, 1.0)
    torch.testing.assert_close(losses[FEATURE].item(), 0.3 * 0.75 * 2 + 0.2 * 2)


def test_the_level_weight_is_on_the_feature_loss_only() -> None:
    """Departure 8."""
    teacher, student = torch.rand(1, 2, 1, 4), torch.rand(1, 2, 1, 4)
    once = cls_losses(teacher, student, *masks(), RELEASE, 1.0)
    twice = cls_losses(teacher, student, *masks(), RELEASE, 2.0)
    torch.testing.assert_close(twice, once * torch.tensor([2.0, 1, 1]))


def test_spatial_attention_loss_lacks_one_over_area_in_the_release_profile_only() -> None:
    """Departure 6. A student with strength 1 at one of two positions, one channel."""
    teacher, student = torch.zeros(1, 1, 1, 2), torch.tensor([[[[1.0, 0.0]]]])
    empty = torch.zeros(1, 1, 2)
    share = 2 * math.exp(1 / 0.8) / (1 + math.exp(1 / 0.8))
    expected = 0.5 * 2 * (share - 1)
    release = cls_losses(teacher, student, empty, empty, RELEASE, 1.0)
    paper = cls_losses(teacher, student, empty, empty, PAPER, 1.0)
    torch.testing.assert_close(release[SPATIAL].item(), expected)
    torch.testing.assert_close(paper[SPATIAL].item(), expected / 2)


def test_channel_attention_loss_lacks_one_over_channels_in_the_release_profile_only() -> None:
    """Departure 6. The mean over positions, of which one of two differs."""
    teacher = torch.zeros(1, 2, 1, 2)
    student = torch.tensor([[[[1.0, 0.0]], [[0.0, 0.0]]]])
    empty = torch.zeros(1, 1, 2)
    share = 2 * math.exp(1 / 0.8) / (1 + math.exp(1 / 0.8))
    expected = 0.5 * 2 * (share - 1) / 2
    release = cls_losses(teacher, student, empty, empty, RELEASE, 1.0)
    paper = cls_losses(teacher, student, empty, empty, PAPER, 1.0)
    torch.testing.assert_close(release[CHANNEL].item(), expected)
    torch.testing.assert_close(paper[CHANNEL].item(), expected / 2)


def test_the_paper_profile_sums_channels_in_the_spatial_attention() -> None:
    """Departure 5. With one channel nothing differs, with two copies the sum is twice as strong."""
    teacher, student = torch.zeros(1, 2, 1, 2), torch.tensor([[[[1.0, 0.0]], [[1.0, 0.0]]]])
    empty = torch.zeros(1, 1, 2)
    share = 2 * math.exp(2 / 0.8) / (1 + math.exp(2 / 0.8))
    paper = cls_losses(teacher, student, empty, empty, PAPER, 1.0)
    torch.testing.assert_close(paper[SPATIAL].item(), 0.5 * 2 * (share - 1) / 2)


@pytest.mark.parametrize("hyper", [RELEASE, PAPER])
def test_classification_losses_do_not_depend_on_the_batch_size(hyper: PgdParameters) -> None:
    teacher, student = torch.rand(1, 2, 1, 4), torch.rand(1, 2, 1, 4)
    one = cls_losses(teacher, student, *masks(), hyper, 1.0)
    three = cls_losses(
        teacher.expand(3, -1, -1, -1), student.expand(3, -1, -1, -1), *masks(3), hyper, 1.0
    )
    torch.testing.assert_close(one, three)


def test_release_regression_is_a_mean_over_channels_and_key_positions_of_the_batch() -> None:
    """Departure 7: plain I; three key positions in two images; 0.7 * (1 + 0.5 + 0.25) / 3."""
    importance = torch.tensor([[[1.0, 0.5, 0, 0]], [[0.25, 0, 0, 0]]])
    feature, _ = reg_losses(flat_teacher(2), torch.ones(2, 2, 1, 4), importance, 9, RELEASE)
    torch.testing.assert_close(feature.item(), 0.7 * 1.75 / 3)


def test_paper_regression_sums_channels_with_the_normalised_mask_of_each_image() -> None:
    """Eq. 6: 0.7 * 2 channels * (1 + 0.5) / 2 and 0.7 * 2 * 0.25 / 1, and their mean."""
    importance = torch.tensor([[[1.0, 0.5, 0, 0]], [[0.25, 0, 0, 0]]])
    feature, _ = reg_losses(flat_teacher(2), torch.ones(2, 2, 1, 4), importance, 9, PAPER)
    torch.testing.assert_close(feature.item(), 0.7 * (2 * 0.75 + 2 * 0.25) / 2)


def test_regression_attention_sums_channels_in_release_and_averages_them_in_paper() -> None:
    """Departure 7. Only the key position counts, with the same weight whatever its I."""
    importance = torch.tensor([[[0.1, 0, 0, 0]]])
    student = torch.tensor([1.0, 0.0]).view(1, 2, 1, 1).expand(1, 2, 1, 4)
    share = 2 * math.exp(1 / 0.8) / (1 + math.exp(1 / 0.8))
    expected = 0.5 * 2 * (share - 1)
    _, release = reg_losses(flat_teacher(), student, importance, 9, RELEASE)
    _, paper = reg_losses(flat_teacher(), student, importance, 9, PAPER)
    torch.testing.assert_close(release.item(), expected)
    torch.testing.assert_close(paper.item(), expected / 2)


@pytest.mark.parametrize("hyper", [RELEASE, PAPER])
@pytest.mark.parametrize("most_keys", [0, 3])
def test_a_level_without_key_positions_adds_nothing_but_keeps_the_graph(
    hyper: PgdParameters, most_keys: int
) -> None:
    student = torch.ones(1, 2, 1, 4, requires_grad=True)
    losses = reg_losses(flat_teacher(), student, torch.zeros(1, 1, 4), most_keys, hyper)
    assert losses.tolist() == [0, 0]
    losses.sum().backward()
    assert student.grad is not None
    assert not student.grad.any()


@pytest.mark.parametrize("hyper", [RELEASE, PAPER])
def test_gathering_more_positions_than_are_key_changes_nothing(hyper: PgdParameters) -> None:
    generator = torch.Generator().manual_seed(0)
    teacher, student = (torch.randn(1, 2, 1, 4, generator=generator) for _ in range(2))
    importance, _ = masks()
    exact = reg_losses(teacher, student, importance, 2, hyper)
    torch.testing.assert_close(reg_losses(teacher, student, importance, 99, hyper), exact)


@pytest.mark.parametrize("hyper", [RELEASE, PAPER])
def test_gradients_pass_gradcheck(hyper: PgdParameters) -> None:
    generator = torch.Generator().manual_seed(0)
    teacher, student = (
        torch.randn(2, 3, 1, 4, generator=generator, dtype=torch.float64) for _ in range(2)
    )
    importance, background = (mask.double() for mask in masks(2))
    student.requires_grad_()
    assert torch.autograd.gradcheck(
        lambda s: cls_losses(teacher, s, importance, background, hyper, 1.25), (student,)
    )
    assert torch.autograd.gradcheck(
        lambda s: reg_losses(teacher, s, importance, 3, hyper), (student,)
    )
