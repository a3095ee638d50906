"""When waiting jobs will start, by how long jobs of their kind took lately."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from pgd_core.jobs.machine import Needs, suitable
from pgd_core.jobs.scheduling import Machine, Running, TeamUse, Waiting

Ends = dict[int, float | None]  # by slot, when it comes free, seconds from now; None: nobody knows
_Option = tuple[float, str, list[int]]  # start, worker, slots


class Starts:
    """When each device comes free, as jobs are laid on them one after another.

    A team's limit is treated as a worker with so many devices, which its jobs need as well.
    """

    def __init__(
        self,
        machines: Sequence[Machine],  # that claim
        running: Iterable[Running],  # of all machines
        teams: Mapping[str, TeamUse],
        durations: Mapping[str, float],  # of kinds of jobs, seconds
    ) -> None:
        self._machines = {machine.name: machine for machine in machines}
        self._durations = durations
        self._free = {machine.name: _ends(machine) for machine in machines}
        running = list(running)
        most = sum(map(len, self._free.values())) + sum(len(job.slots) for job in running)
        self._limits = {
            name: _ends_of_team(use.max_running_gpus, [job for job in running if job.team == name])
            for name, use in teams.items()
            # A limit of 2 billion binds nobody, and as many devices fit into no memory.
            if use.max_running_gpus is not None and use.max_running_gpus < most
        }
        # By needs and worker; of the worker that a job is laid on, worked out again.
        self._options: dict[Needs, dict[str, _Option]] = {}

    def of(self, job: Waiting) -> float | None:
        """The job's start in seconds from now; None when it cannot be said."""
        option = min(self._of_needs(job.needs).values(), default=None)
        allowed_s, allowed = self._allowed(job)
        if option is None or allowed_s is None:
            return None
        start_s, name, slots = option
        lasts_s = self._durations.get(job.kind)
        begins_s = max(start_s, allowed_s)
        end_s = None if lasts_s is None else begins_s + lasts_s
        self._limits.get(job.team, {}).update(dict.fromkeys(allowed, end_s))
        if allowed_s <= start_s:  # else others will use the devices until then
            self._lay(name, slots, end_s)
        return begins_s

    def _of_needs(self, needs: Needs) -> dict[str, _Option]:
        if needs not in self._options:
            found = {name: self._on(needs, name) for name in self._machines}
            self._options[needs] = {name: one for name, one in found.items() if one is not None}
        return self._options[needs]

    def _on(self, needs: Needs, name: str) -> _Option | None:
        free = self._free[name]
        able = suitable(needs, self._machines[name].devices)
        start_s, slots = _soonest({device.slot: free[device.slot] for device in able}, needs.gpus)
        return None if start_s is None else (start_s, name, slots)

    def _allowed(self, job: Waiting) -> tuple[float | None, list[int]]:
        """When the team's limit lets it start, and which of its devices it then uses."""
        if job.team not in self._limits:
            return 0.0, []
        return _soonest(self._limits[job.team], job.needs.gpus)

    def _lay(self, name: str, slots: list[int], end_s: float | None) -> None:
        self._free[name].update(dict.fromkeys(slots, end_s))
        for needs, options in self._options.items():
            again = self._on(needs, name)
            if again is None:
                options.pop(name, None)
            else:
                options[name] = again


def _ends(machine: Machine) -> Ends:
    ends: Ends = {device.slot: 0.0 for device in machine.devices}
    for job in machine.running:
        ends.update(dict.fromkeys(job.slots, _end(job)))
    return ends


def _ends_of_team(limit: int, running: Sequence[Running]) -> Ends:
    """Of as many devices as it may run; those that run beyond a limit that was lowered: the last
    to end count."""
    known = [_end(job) for job in running for _ in job.slots]
    known.sort(key=lambda end_s: float("inf") if end_s is None else end_s)
    latest = known[max(len(known) - limit, 0) :]
    return dict(enumerate([*latest, *[0.0] * (limit - len(latest))]))


def _end(job: Running) -> float | None:
    return 0.0 if job.stopping else job.ends_in_s


def _soonest(ends: Ends, count: int) -> tuple[float | None, list[int]]:
    """When so many are free of those whose end is known, and which."""
    known = sorted((end_s, slot) for slot, end_s in ends.items() if end_s is not None)[:count]
    if len(known) < count:
        return None, []
    return known[-1][0], [slot for _, slot in known]
