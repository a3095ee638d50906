"""Teams that share a pool: weights, limits, and what they have used."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

DEFAULT_TEAM = "default"


@dataclass(frozen=True)
class Team:
    """A team as stored."""

    name: str
    weight: float  # its share of GPU time against that of others: twice the weight, twice the time
    max_running_gpus: int | None  # at once; None: no limit
    max_queued_jobs: int | None  # waiting or paused; None: no limit
    used_gpu_s: float  # GPU time as it counted at `used_at`, seconds
    used_at: datetime
    created_at: datetime
