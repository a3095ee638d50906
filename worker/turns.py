"""Whose check is next: each team's in turn, so that nobody waits for all that another sent."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from pgd_core.jobs.job import Dataset, Teacher

Thing = Dataset | Teacher


class Turns:
    """Remembers when each team, and each thing that still waits, had its last turn."""

    def __init__(self) -> None:
        self._turn = 0
        self._teams: dict[str, int] = {}
        self._things: dict[str, int] = {}

    def take(
        self,
        waiting: Iterable[Thing],
        but: Collection[str] = (),  # ids of what is not to be tried now
    ) -> Thing | None:
        """Of the team that has waited longest: what was never tried before what was, teachers
        before data sets since they are quick, then the oldest. None where nothing is left."""
        there = list(waiting)
        self._forget_all_but({thing.id for thing in there})
        found = min((thing for thing in there if thing.id not in but), key=self._rank, default=None)
        if found is not None:
            self._turn += 1
            self._teams[found.team] = self._things[found.id] = self._turn
        return found

    def _rank(self, thing: Thing) -> tuple[int, int, bool, str]:
        return (
            self._teams.get(thing.team, 0),
            self._things.get(thing.id, 0),
            isinstance(thing, Dataset),
            thing.id,
        )

    def _forget_all_but(self, ids: Collection[str]) -> None:
        self._things = {id_: turn for id_, turn in self._things.items() if id_ in ids}
