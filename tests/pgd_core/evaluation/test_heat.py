from __future__ import annotations

import numpy as np
import pytest
import torch

from pgd_core.evaluation.heat import heat_map

SIZES, STRIDES = ((2, 2), (1, 1)), (8, 16)
ON_CORNERS = torch.tensor([[0.0, 0], [8, 0], [0, 8], [8, 8], [0, 0]])  # as anchors' centres lie
IN_MIDDLES = torch.tensor([[4.0, 4], [12, 4], [4, 12], [12, 12], [8, 8]])  # as FCOS's points
WHOLE = torch.tensor([[-1.0, -1, 17, 17]])


def test_a_pixel_has_its_nearest_positions_value_wherever_positions_lie() -> None:
    values = torch.tensor([[0.1, 0.2, 0.3, 0.4, 0.0]])
    middles = heat_map(values, WHOLE, IN_MIDDLES, SIZES, STRIDES, (16, 16))
    np.testing.assert_allclose(middles, np.kron([[0.1, 0.2], [0.3, 0.4]], np.ones((8, 8))), 1e-6)
    corners = heat_map(values, WHOLE, ON_CORNERS, SIZES, STRIDES, (16, 16))
    assert corners[3, 3] == pytest.approx(0.1)  # pixel 3's middle is at 3.5, nearest to 0
    assert corners[3, 4] == pytest.approx(0.2)
    assert corners[15, 15] == pytest.approx(0.4)  # beyond the last position


def test_the_greatest_of_levels_and_objects_counts_and_only_inside_the_objects_own_box() -> None:
    values = torch.tensor([[0.1, 0.2, 0.3, 0.4, 0.25], [0.9, 0.9, 0.9, 0.9, 0.9]])
    boxes = torch.tensor([[0.0, 0, 16, 8], [12, 0, 16, 4]])
    heat = heat_map(values, boxes, IN_MIDDLES, SIZES, STRIDES, (16, 16))
    assert heat[0, 0] == pytest.approx(0.25)  # the coarse level's
    assert heat[0, 14] == pytest.approx(0.9)  # the second object's
    assert heat[6, 14] == pytest.approx(0.25)
    assert (heat[8:] == 0).all()


def test_a_smaller_map_shows_the_same_places() -> None:
    values = torch.tensor([[0.1, 0.2, 0.3, 0.4, 0.0]])
    heat = heat_map(values, WHOLE, IN_MIDDLES, SIZES, STRIDES, (4, 4), scale=0.25)
    np.testing.assert_allclose(heat, np.kron([[0.1, 0.2], [0.3, 0.4]], np.ones((2, 2))), 1e-6)


def test_a_picture_without_objects_is_cold() -> None:
    heat = heat_map(torch.zeros(0, 5), torch.zeros(0, 4), IN_MIDDLES, SIZES, STRIDES, (10, 16))
    assert heat.shape == (10, 16)
    assert not heat.any()
