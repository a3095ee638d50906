"""A matrix of settings: axes, each a field of a job and the values it takes, and their product."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from itertools import product
from math import prod
from typing import Annotated, Any

from pydantic import Field, field_validator, model_validator

from pgd_core.jobs.strict import Strict

TeacherName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9 ._+-]{0,63}$")]
Seed = Annotated[int, Field(ge=0, le=2**31 - 1)]
Label = Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[^\x00-\x1f\x7f|]+$")]

MOST_LEVELS = 8  # that a value nests; a job's spec has three

Choice = tuple[str, str, Any]  # (field, label, value)


class Axis(Strict):
    """One field of the distill job, and the values that it takes."""

    field: str = Field(
        pattern=r"^[a-z_]+(\.[a-z_]+)*$",
        max_length=100,
        description="A field of a distill job, with dots into it: `method`, `method.top_k`, "
        "`student`, `training.epochs`.",
    )
    values: tuple[Any, ...] = Field(
        min_length=1,
        max_length=64,
        description='One after the other; of `method`, "fgd" is short for {"name": "fgd"}.',
    )
    labels: tuple[Label, ...] = Field(
        (), max_length=64, description="What the table calls the values; default: the values."
    )

    @model_validator(mode="after")
    def _one_label_a_value(self) -> Axis:
        if self.labels and len(self.labels) != len(self.values):
            raise ValueError(
                f"axis {self.field!r} has {len(self.values)} values and {len(self.labels)} labels"
            )
        labels = [label for _, label, _ in self.choices]
        if len(set(labels)) != len(labels):
            raise ValueError(f"axis {self.field!r} names a value twice: {', '.join(labels)}")
        return self

    @field_validator("values")
    @classmethod
    def _is_no_abyss(cls, values: tuple[Any, ...]) -> tuple[Any, ...]:
        if not _within(values, MOST_LEVELS + 1):
            raise ValueError(f"a value nests lists or objects more than {MOST_LEVELS} deep")
        return values

    @property
    def choices(self) -> tuple[Choice, ...]:
        """Each value with its label."""
        labels = self.labels or tuple(_label(self.field, value) for value in self.values)
        return tuple(
            (self.field, label, _spelled_out(self.field, value))
            for label, value in zip(labels, self.values, strict=True)
        )


class Matrix(Strict):
    """Every combination of the axes' values, for some of the study's teachers and seeds."""

    teachers: tuple[TeacherName, ...] = Field(
        (), max_length=32, description="Names of the study's teachers; empty: all of them."
    )
    seeds: tuple[Seed, ...] = Field(
        (), max_length=64, description="Seeds of training; empty: the study's."
    )
    axes: tuple[Axis, ...] = Field(
        (), max_length=6, description="None: the study's own settings, once."
    )

    @property
    def size(self) -> int:
        """How many combinations there are: too many to lay out, perhaps."""
        return prod(len(axis.values) for axis in self.axes)

    @property
    def combinations(self) -> list[tuple[Choice, ...]]:
        """One choice of each axis, the last axis fastest."""
        return list(product(*(axis.choices for axis in self.axes)))


def with_choices(base: Mapping[str, Any], choices: tuple[Choice, ...]) -> dict[str, Any]:
    """The job with the chosen values in place; a field that leads nowhere is a ValueError."""
    job = deepcopy(dict(base))
    for field, _, value in choices:
        *path, last = field.split(".")
        place: Any = job
        for name in path:
            place = place.setdefault(name, {}) if isinstance(place, dict) else None
        if not isinstance(place, dict):
            raise ValueError(f"axis {field!r} leads into a field that holds no others")
        place[last] = deepcopy(value)
    return job


def _within(value: Any, levels: int) -> bool:
    """Whether lists and objects nest at most so deep."""
    inner = value.values() if isinstance(value, dict) else value
    if not isinstance(value, dict | list | tuple):
        return True
    return levels > 0 and all(_within(one, levels - 1) for one in inner)


def _spelled_out(field: str, value: Any) -> Any:
    return {"name": value} if field in ("method", "student") and isinstance(value, str) else value


def _label(field: str, value: Any) -> str:
    """A value in the table's words."""
    if field in ("method", "student") and isinstance(value, dict):
        rest = ", ".join(f"{name} {v}" for name, v in value.items() if name != "name")
        return f"{value.get('name', 'pgd')}" + (f" ({rest})" if rest else "")
    if field in ("method", "student"):
        return str(value)
    return f"{field.rpartition('.')[2]} {value}"
