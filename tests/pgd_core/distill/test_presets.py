"""Numbers by detector, and numbers that cannot train."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from pgd_core.distill.presets import check_numbers, preset_of
from pgd_core.errors import InvalidSpec


@dataclass(frozen=True)
class Numbers:
    weight: float = 1
    tau: float = 1


def test_an_unknown_detector_is_told_which_there_are() -> None:
    assert preset_of({"fcos": 1}, "fcos") == 1
    with pytest.raises(InvalidSpec, match=r"'yolo' has no preset.*fcos"):
        preset_of({"fcos": 1}, "yolo")


@pytest.mark.parametrize("weight", [-1.0, float("inf"), float("nan")])
def test_a_weight_is_finite_and_not_negative(weight: float) -> None:
    check_numbers(Numbers(weight=0))
    with pytest.raises(InvalidSpec, match="weight is"):
        check_numbers(Numbers(weight=weight))


def test_a_temperature_is_above_0() -> None:
    with pytest.raises(InvalidSpec, match="tau is 0"):
        check_numbers(Numbers(tau=0))
