"""Strict types for values out of untrusted JSON."""

from __future__ import annotations

import math
from typing import Any, TypeGuard

from pgd_core.datasets.report import Code, Findings, shown

ID_BOUND = 2**63
ID_WANTED = "must be a whole number that fits in 64 bits"


def wrong_field(
    findings: Findings, pointer: str, row: dict[str, Any], key: str, wanted: str
) -> None:
    found = "is missing" if key not in row else f"is {shown(row[key])}"
    findings.add(Code.WRONG_FIELD, f"{pointer}/{key}", f"{key} {found}: it {wanted}")


def is_id(value: object) -> TypeGuard[int]:
    """A whole number of 64 bits; JSON's true is not 1."""
    return type(value) is int and -ID_BOUND <= value < ID_BOUND


def is_number(value: object) -> TypeGuard[int | float]:
    """Finite; JSON's true is not 1."""
    if type(value) is int:
        return -ID_BOUND <= value < ID_BOUND
    return type(value) is float and math.isfinite(value)
