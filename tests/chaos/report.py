"""The run's figures, and the part of docs/reliability.md that shows them."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pgd_core.jobs.job import Job
from tests.chaos.people import TEAMS

BEGIN, END = "<!-- chaos: begin -->", "<!-- chaos: end -->"
HEAD = """# Reliability

What was done to the service, and what came of it.

"""


@dataclass
class Report:
    """What happened, and what is wrong."""

    seed: int
    asked_minutes: float
    took_s: float = 0.0
    settled_s: float = 0.0
    jobs: Sequence[Job] = ()
    wrong: dict[str, list[str]] = field(default_factory=dict)
    faults: Mapping[str, int] = field(default_factory=dict)
    restarts: Mapping[str, int] = field(default_factory=dict)
    asked: Mapping[str, int] = field(default_factory=dict)

    @property
    def passed(self) -> bool:
        return not any(self.wrong.values())

    def markdown(self) -> str:
        parts = [self._setting(), self._verdict(), self._jobs(), self._teams(), self._faults()]
        return "\n\n".join(parts)

    def _setting(self) -> str:
        command = (
            f"make chaos SEED={self.seed} MINUTES={self.asked_minutes:g} JOBS={len(self.jobs)}"
        )
        return (
            f"## A night's work under faults\n\n`{command}`: three workers of two CPU slots, the "
            "API and two reconcilers as processes on PostgreSQL and Redis; three teams submit over "
            "HTTP. The trainers are stand-ins that keep the trainer's contract and chain a hash "
            "over their steps, so that a wrong resume makes a wrong result. What dies is started "
            f"again within two seconds.\n\n{sum(self.faults.values())} faults in "
            f"{self.took_s / 60:.1f} minutes; {self.settled_s:.0f} s after the last one all jobs "
            "had ended."
        )

    def _verdict(self) -> str:
        rows = [f"| {kind} | {len(told)} |" for kind, told in self.wrong.items()]
        told = [f"- {kind}: {one}" for kind, all_ in self.wrong.items() for one in all_[:10]]
        return "\n".join(["| What must not be | Found |", "|---|---:|", *rows, *told])

    def _jobs(self) -> str:
        ends = Counter(str(job.state) for job in self.jobs)
        attempts = Counter(min(job.attempt, 6) for job in self.jobs)
        counted = ", ".join(
            f"{count} with {number}{' or more' if number == 6 else ''}"
            for number, count in sorted(attempts.items())
        )
        wishes = ", ".join(f"{count} × {what}" for what, count in sorted(self.asked.items()))
        ended = ", ".join(f"{count} {state}" for state, count in sorted(ends.items()))
        return (
            f"{len(self.jobs)} jobs: {ended}. Attempts: {counted}; "
            f"{sum(job.attempt for job in self.jobs)} in all. Asked of random jobs: {wishes}."
        )

    def _teams(self) -> str:
        used = {team: sum(j.gpu_s for j in self.jobs if j.team == team) for team in TEAMS}
        whole = sum(used.values()) or 1.0
        rows = [
            f"| {team} | {weight:g} | {sum(j.team == team for j in self.jobs)} | {used[team]:.0f} "
            f"| {100 * used[team] / whole:.0f} % |"
            for team, weight in TEAMS.items()
        ]
        head = ["| Team | Weight | Jobs | Slot time, s | Share |", "|---|---:|---:|---:|---:|"]
        note = (
            "Each team asked for about the same, and the slots were seldom all taken: the shares "
            "follow what was asked, not the weights (those are measured apart, with endless jobs)."
        )
        return "\n".join([*head, *rows, "", note])

    def _faults(self) -> str:
        rows = [f"| {kind} | {count} |" for kind, count in sorted(self.faults.items())]
        again = ", ".join(f"{count} × {kind}" for kind, count in sorted(self.restarts.items()))
        return "\n".join(["| Fault | Times |", "|---|---:|", *rows, "", f"Started again: {again}."])


def write(report: Report, path: Path) -> None:
    """Put the report between its markers; the rest of the file stays."""
    text = path.read_text() if path.exists() else f"{HEAD}{BEGIN}\n{END}\n"
    if BEGIN not in text:
        text = f"{text.rstrip()}\n\n{BEGIN}\n{END}\n"
    section = f"{BEGIN}\n{report.markdown()}\n{END}"
    whole = re.compile(f"{re.escape(BEGIN)}.*{re.escape(END)}", re.DOTALL)
    path.write_text(whole.sub(lambda _: section, text))
