"""Maps of teacher and student side by side, level by level."""

from __future__ import annotations

import pytest
import torch

from pgd_core.distill.levels import level_adapters, paired_levels
from pgd_core.errors import InvalidSpec


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (torch.float16, torch.float32),
        (torch.bfloat16, torch.float32),
        (torch.float32, torch.float32),
        (torch.float64, torch.float64),
    ],
)
def test_levels_come_in_full_precision(given: torch.dtype, expected: torch.dtype) -> None:
    maps = [torch.ones(1, 2, 3, 4, dtype=given)]
    ((teacher, student),) = paired_levels("maps", maps, maps, ((3, 4),))
    assert teacher.dtype == student.dtype == expected


def test_the_teachers_levels_carry_no_gradient() -> None:
    maps = [torch.ones(1, 2, 3, 4, requires_grad=True)]
    ((teacher, student),) = paired_levels("maps", maps, maps, ((3, 4),))
    assert not teacher.requires_grad
    assert student.requires_grad


def test_maps_of_different_width_are_refused_by_name() -> None:
    teacher, student = [torch.ones(1, 256, 3, 4)], [torch.ones(1, 64, 3, 4)]
    with pytest.raises(InvalidSpec, match=r"neck's features differ.*256.*64"):
        paired_levels("neck's features", teacher, student, ((3, 4),))


def test_an_adapter_keeps_width_and_size_of_its_level() -> None:
    adapters = level_adapters(4, 2)
    assert len(adapters) == 2
    assert adapters[0](torch.ones(2, 4, 1, 5)).shape == (2, 4, 1, 5)
