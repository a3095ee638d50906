"""What there is of everything, in numbers: for those who watch over the service."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol


@dataclass(frozen=True)
class Figures:
    """Counts by their labels."""

    jobs: dict[tuple[str, str, str], int] = field(default_factory=dict)  # state, pool, team
    oldest_queued_s: dict[tuple[str, str], float] = field(default_factory=dict)  # pool, team
    workers: dict[tuple[str, str], int] = field(default_factory=dict)  # pool, state
    slots_used: dict[str, int] = field(default_factory=dict)  # by pool
    slots_free: dict[str, int] = field(default_factory=dict)  # of active workers, by pool
    attempts: dict[str, int] = field(default_factory=dict)  # that ended, by reason
    deliveries: dict[str, int] = field(default_factory=dict)  # of webhooks, by state


class FiguresStore(Protocol):
    def figures(self) -> Figures:
        """All of them, with a few questions."""
