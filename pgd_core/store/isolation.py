"""Many rows, each in a transaction of its own, where one that fails must not hold up the others."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeVar

import structlog

T = TypeVar("T")

log = structlog.get_logger()


def one_by_one(step: Callable[[str], T | None], names: Iterable[str]) -> list[T]:
    """What the step makes of each, but for None; one that it fails at is told, and passed by."""
    made: list[T] = []
    for name in names:
        try:
            found = step(name)
        except Exception:  # whatever a row or a database comes up with
            log.exception("row_failed", step=step.__name__.strip("_"), row=name)
            continue
        if found is not None:
            made.append(found)
    return made
