"""Where waiting jobs stand, worked out once for all who ask within a moment."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from datetime import UTC, datetime

from pgd_core.jobs.forecast import Place, Pool, forecast
from pgd_core.jobs.protocols import Queue

FRESH_S = 1.0


@dataclass(frozen=True)
class Standing:
    """A pool, and the places of the jobs that wait in it."""

    at: datetime
    pool: Pool
    places: tuple[Place, ...]  # next first
    by_job: dict[str, Place]


class Places:
    """The forecast of each pool, at most a second old."""

    def __init__(self, queue: Queue) -> None:
        self._queue = queue
        self._lock = threading.Lock()  # one works it out, the others wait for it
        self._known: dict[str, tuple[float, Standing]] = {}

    def pools(self) -> list[str]:
        """Those that a worker serves or a job waits in."""
        return list(self._queue.pools())

    def of_pool(self, name: str) -> Standing:
        """The pool's jobs in order."""
        with self._lock:
            at, standing = self._known.get(name, (0.0, None))
            if standing is None or time.monotonic() - at > FRESH_S:
                standing = self._work_out(name)
                self._known[name] = time.monotonic(), standing
            return standing

    def of_job(self, job_id: str, pool: str) -> Place | None:
        """The job's place; looked up anew when it came after the last forecast."""
        place = self.of_pool(pool).by_job.get(job_id)
        if place is None:
            self.forget(pool)
            place = self.of_pool(pool).by_job.get(job_id)
        return place

    def forget(self, pool: str) -> None:
        """Look at the pool anew when next asked: somebody changed its order."""
        with self._lock:
            self._known.pop(pool, None)

    def _work_out(self, name: str) -> Standing:
        pool = self._queue.pool(name)
        places = tuple(forecast(pool))
        return Standing(datetime.now(UTC), pool, places, {place.job: place for place in places})
