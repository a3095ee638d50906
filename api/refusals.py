"""Everything that is wrong with a request, and not only what is found first."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from pgd_core.errors import FieldProblem, InvalidSpec, NotReady


class Refusals:
    """Collects what is invalid, and what is not ready; raised together at the end."""

    def __init__(self) -> None:
        self._invalid: list[InvalidSpec] = []
        self._not_ready: list[NotReady] = []

    @contextmanager
    def noted(self) -> Iterator[None]:
        """What this finds wrong is kept for later."""
        try:
            yield
        except InvalidSpec as error:
            self._invalid.append(error)
        except NotReady as error:
            self._not_ready.append(error)

    def raise_all(self) -> None:
        """What is invalid goes before what is only not ready: waiting would not mend it."""
        if len(self._invalid) > 1:
            told = {error.message: None for error in self._invalid}
            problems = tuple(problem for error in self._invalid for problem in _problems(error))
            raise InvalidSpec("; ".join(told), problems)
        for error in (*self._invalid, *self._not_ready):
            raise error


def _problems(error: InvalidSpec) -> tuple[FieldProblem, ...]:
    return error.problems or (FieldProblem("", error.message),)
