"""A job's curves: numbers over the iterations, attempts joined, thinned out so far as asked.

Thinned out by buckets of the iterations: of each the lowest and the highest value stay, so that no
spike is lost. (Libraries that do this want numpy, which the API does without.)
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Protocol

from pgd_core.jobs.run import ProgressLine

_FIELDS = {
    "lr": "learning_rate",
    "grad_norm": "grad_norm",
    "memory_mb": "memory_mb",
    "images_per_s": "images_per_s",
}
TOTAL = "loss"  # the sum of all losses


@dataclass(frozen=True)
class Point:
    iteration: int
    epoch: float
    value: float


@dataclass
class Curve:
    """The values of one key of one variant, by iteration."""

    key: str
    variant: str
    points: list[Point] = field(default_factory=list)


class CurveStore(Protocol):
    def lines(self, job_id: str) -> Iterator[tuple[int, ProgressLine]]:
        """(attempt, line) of training and validation, oldest first, not all in memory at once."""


@dataclass
class Curves:
    """Takes lines one by one, oldest first."""

    keys: Sequence[str]
    known: set[str] = field(default_factory=set)  # every key that a line had
    found: dict[tuple[str, str], Curve] = field(default_factory=dict)
    _attempts: dict[str, int] = field(default_factory=dict)

    def take(self, attempt: int, line: ProgressLine) -> None:
        """A later attempt goes on from a checkpoint: what the earlier made after it is void."""
        if attempt > self._attempts.get(line.variant, 0):
            self._attempts[line.variant] = attempt
            self._cut(line.variant, line.iteration)
        values = values_of(line)
        self.known |= values.keys()
        for key in self.keys:
            if key in values:
                curve = self.found.setdefault((key, line.variant), Curve(key, line.variant))
                curve.points.append(Point(line.iteration, line.epoch, values[key]))

    def _cut(self, variant: str, iteration: int) -> None:
        for curve in self.found.values():
            if curve.variant == variant:
                curve.points = [point for point in curve.points if point.iteration < iteration]


def values_of(line: ProgressLine) -> dict[str, float]:
    """The numbers of a line by key: losses and metrics by their own names, `loss` their sum."""
    losses = line.losses | line.distillation_losses
    values: dict[str, float] = dict(losses)
    if losses:
        values.setdefault(TOTAL, sum(losses.values()))
    for key, name in _FIELDS.items():
        if (value := getattr(line, name)) is not None:
            values[key] = value
    numbers = {k: v for k, v in line.metrics.items() if isinstance(v, int | float)}
    return values | {key: float(value) for key, value in numbers.items()}


def thinned(points: Sequence[Point], most: int) -> list[Point]:
    """At most so many points of them: the first, the last, and each bucket's extremes."""
    if len(points) <= most:
        return list(points)
    inner = points[1:-1]
    buckets = max(1, (most - 2) // 2)
    kept = [points[0]]
    for _, group in groupby(enumerate(inner), lambda item: item[0] * buckets // len(inner)):
        bucket = [point for _, point in group]
        extremes = {id(p): p for p in (min(bucket, key=_value), max(bucket, key=_value))}
        kept += sorted(extremes.values(), key=lambda point: point.iteration)
    return [*kept, points[-1]]


def _value(point: Point) -> float:
    return point.value
