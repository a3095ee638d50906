"""A method's numbers: looked up by detector, and refused where they cannot train."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import fields
from typing import Any, TypeVar

from pgd_core.errors import InvalidSpec

Preset = TypeVar("Preset")


def preset_of(presets: Mapping[str, Preset], detector: str) -> Preset:
    """The detector's entry; InvalidSpec where it has none."""
    if detector not in presets:
        raise InvalidSpec(f"detector {detector!r} has no preset; choose from {sorted(presets)}")
    return presets[detector]


def check_numbers(parameters: Any) -> None:
    """Refuse numbers of a dataclass that are infinite or negative, and a tau of 0: InvalidSpec."""
    for field in fields(parameters):
        value = getattr(parameters, field.name)
        if not (math.isfinite(value) and value >= 0):
            raise InvalidSpec(f"{field.name} is {value}; give a finite number that is not negative")
        if field.name.startswith("tau") and value == 0:
            raise InvalidSpec(f"{field.name} is 0; a temperature is above 0")
