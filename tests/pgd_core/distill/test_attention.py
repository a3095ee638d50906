"""Eq. 7: spatial and channel attention."""

from __future__ import annotations

import math

import pytest
import torch

from pgd_core.distill.attention import channel_attention, spatial_attention


def random_feature(channels: int = 4) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(2, channels, 3, 5, generator=generator, dtype=torch.float64)


def test_spatial_attention_of_two_positions_by_hand() -> None:
    """Channel means of abs(F) are 1 and 2; tau = 0.5 makes them 2 and 4."""
    feature = torch.tensor([[[[1.0, -3.0]], [[-1.0, 1.0]]]])
    near, far = math.exp(2), math.exp(4)
    expected = torch.tensor([[[[2 * near / (near + far), 2 * far / (near + far)]]]])
    torch.testing.assert_close(spatial_attention(feature, 0.5), expected)


def test_the_paper_s_spatial_attention_sums_channels() -> None:
    """Departure 5: sums 2 and 4 instead of means 1 and 2."""
    feature = torch.tensor([[[[1.0, -3.0]], [[-1.0, 1.0]]]])
    near, far = math.exp(2), math.exp(4)
    expected = torch.tensor([[[[2 * near / (near + far), 2 * far / (near + far)]]]])
    attention = spatial_attention(feature, 1.0, sums_channels=True)
    torch.testing.assert_close(attention, expected)


def test_the_paper_s_spatial_attention_is_nearly_one_hot_at_full_width() -> None:
    feature = torch.randn(1, 256, 20, 20, generator=torch.Generator().manual_seed(0))
    assert spatial_attention(feature, 0.8, sums_channels=True).max() > 400 / 2
    assert spatial_attention(feature, 0.8).max() < 2


def test_channel_attention_of_one_position_by_hand() -> None:
    feature = torch.tensor([[[[-1.0]], [[3.0]]]])
    low, high = math.exp(0.5), math.exp(1.5)
    expected = torch.tensor([[[[2 * low / (low + high)]], [[2 * high / (low + high)]]]])
    torch.testing.assert_close(channel_attention(feature, 2.0), expected)


@pytest.mark.parametrize("sums_channels", [False, True])
def test_spatial_attention_agrees_with_plain_loops(sums_channels: bool) -> None:
    feature, tau = random_feature(), 0.8
    attention = spatial_attention(feature, tau, sums_channels)
    for n in range(2):
        strength = [
            [sum(abs(v) for v in feature[n, :, i, j].tolist()) for j in range(5)] for i in range(3)
        ]
        width = tau if sums_channels else tau * 4
        total = sum(math.exp(s / width) for row in strength for s in row)
        for i in range(3):
            for j in range(5):
                expected = 15 * math.exp(strength[i][j] / width) / total
                assert attention[n, 0, i, j].item() == pytest.approx(expected, rel=1e-9)


def test_channel_attention_agrees_with_plain_loops() -> None:
    feature, tau = random_feature(), 0.8
    attention = channel_attention(feature, tau)
    for n in range(2):
        for i in range(3):
            for j in range(5):
                values = [math.exp(abs(v) / tau) for v in feature[n, :, i, j].tolist()]
                for c in range(4):
                    expected = 4 * values[c] / sum(values)
                    assert attention[n, c, i, j].item() == pytest.approx(expected, rel=1e-9)


def test_attention_has_mean_one() -> None:
    feature = random_feature()
    assert spatial_attention(feature, 0.8).mean().item() == pytest.approx(1)
    means = channel_attention(feature, 0.8).mean(dim=1)
    torch.testing.assert_close(means, torch.ones_like(means))


def test_a_flat_feature_has_attention_one_everywhere() -> None:
    assert spatial_attention(torch.zeros(1, 3, 2, 2), 0.8).tolist() == [[[[1, 1], [1, 1]]]]
    ones = torch.ones(1, 3, 2, 2)
    torch.testing.assert_close(channel_attention(torch.zeros(1, 3, 2, 2), 0.8), ones)


def test_very_strong_features_do_not_overflow() -> None:
    feature = torch.tensor([[[[1e4, 0.0]], [[0.0, 1e4]]]])
    assert spatial_attention(feature, 0.4, sums_channels=True).isfinite().all()
    assert channel_attention(feature, 0.4).tolist() == [[[[2.0, 0.0]], [[0.0, 2.0]]]]


def test_the_feature_itself_is_left_alone() -> None:
    feature = -torch.ones(1, 2, 2, 2)
    channel_attention(feature, 0.5)
    assert feature.equal(-torch.ones(1, 2, 2, 2))
