from __future__ import annotations

import math

import pytest

from pgd_core.datasets.fields import is_id, is_number


@pytest.mark.parametrize("value", [0, -1, 2**63 - 1, -(2**63)])
def test_whole_numbers_of_64_bits_are_ids_and_numbers(value: int) -> None:
    assert is_id(value)
    assert is_number(value)


@pytest.mark.parametrize("value", [True, False, None, "1", [], 2**63, 10**400, math.nan, math.inf])
def test_anything_else_is_neither(value: object) -> None:
    assert not is_id(value)
    assert not is_number(value)


def test_a_finite_fraction_is_a_number_and_no_id() -> None:
    assert is_number(1.5)
    assert not is_id(1.0)
