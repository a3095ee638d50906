"""How often a key may ask: a token bucket for each, in this process's memory.

Each API process counts for itself, so that n of them together let n times as much through. The
limit keeps one runaway script from starving the others; it is no meter.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

NOTE_EVERY_S = 60.0


@dataclass
class _Bucket:
    tokens: float
    at: float
    noted_at: float | None = None


class Rates:
    """The buckets; used by the event loop's thread alone."""

    def __init__(
        self, per_s: float, burst: int, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._per_s, self._burst, self._clock = per_s, burst, clock
        self._buckets: dict[str, _Bucket] = {}

    def take(self, key_id: str) -> float:
        """0 when the key may ask now, else the seconds until it may."""
        now = self._clock()
        bucket = self._buckets.setdefault(key_id, _Bucket(self._burst, now))
        if self._per_s == 0:
            return 0.0
        bucket.tokens = min(self._burst, bucket.tokens + (now - bucket.at) * self._per_s)
        bucket.at = now
        if bucket.tokens < 1:
            return (1 - bucket.tokens) / self._per_s
        bucket.tokens -= 1
        return 0.0

    def is_due(self, key_id: str) -> bool:
        """Whether the database shall hear that the key is in use; once a minute."""
        now = self._clock()
        bucket = self._buckets[key_id]
        if bucket.noted_at is not None and now - bucket.noted_at < NOTE_EVERY_S:
            return False
        bucket.noted_at = now
        return True
