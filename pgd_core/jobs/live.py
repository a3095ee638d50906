"""What those who watch jobs live need of the store: how far each series of each job has come."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal, Protocol

from pgd_core.jobs.job import FINAL_STATES, JobState

SeriesName = Literal["events", "metrics"]


@dataclass(frozen=True)
class Marks:
    """The last numbers of a job's series, and its state at that very moment."""

    state: JobState
    team: str
    events: int  # 0: none yet
    metrics: int

    def of(self, series: SeriesName) -> int:
        """The last number of the series."""
        return self.events if series == "events" else self.metrics

    @property
    def ended(self) -> bool:
        """Whether the numbers are the last ones, unless somebody asks for another try."""
        return self.state in FINAL_STATES


class LiveStore(Protocol):
    """Few questions for many listeners."""

    def marks(self, job_ids: Collection[str]) -> dict[str, Marks]:
        """Of those jobs that exist, all as of one moment."""

    def good_keys(self, key_ids: Collection[str]) -> set[str]:
        """Those API keys that are neither revoked nor expired."""
