"""Keeping a claim alive in a thread of its own, so that no long step forgets to."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from datetime import timedelta
from types import TracebackType

import structlog

from pgd_core.errors import LeaseLost
from pgd_core.jobs.job import Claim, StopRequest
from pgd_core.jobs.protocols import JobStore
from pgd_core.jobs.run import ProgressLine

# Of the lease, kept back: within it the trainer has to be dead.
_MARGIN = 0.2

log = structlog.get_logger()


class LeaseKeeper:
    """Renews a claim's lease and carries lines of progress; a context manager.

    `lost` turns true when the store says so, or when no renewal succeeded for so long that the
    lease may run out: by this machine's clock, counted from before the renewal was asked for. One
    renewal that fails is no loss.
    """

    def __init__(
        self,
        jobs: JobStore,
        claim: Claim,
        *,
        claimed_at: float,  # time.monotonic() before the claim was asked for
        lease_s: float,
        heartbeat_s: float,
    ) -> None:
        self._jobs, self._claim = jobs, claim
        self._lease_s, self._heartbeat_s = lease_s, heartbeat_s
        self._good_until = claimed_at + lease_s * (1 - _MARGIN)
        self._refused = False
        self._stop_requested: StopRequest | None = None
        self._lines: list[ProgressLine] = []
        self._lines_lock = threading.Lock()  # held for moments: `add` never waits for a database
        self._renewing = threading.Lock()
        self._stop = threading.Event()
        self._log = log.bind(job=claim.job_id, attempt=claim.attempt)  # the thread has no context
        self._thread = threading.Thread(target=self._keep, name=f"lease-{claim.job_id}")

    def __enter__(self) -> LeaseKeeper:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop.set()
        self._thread.join()

    @property
    def lost(self) -> bool:
        """Whether the job may be another's: stop at once."""
        return self._refused or time.monotonic() > self._good_until

    @property
    def stop_requested(self) -> StopRequest | None:
        """What the trainer is to stop for, if it is."""
        return self._stop_requested

    def add(self, lines: Sequence[ProgressLine]) -> None:
        """Lines to go out with the next heartbeat."""
        with self._lines_lock:
            self._lines.extend(lines)

    def renew(self) -> None:
        """One heartbeat, now; LeaseLost, or whatever the store raises when it cannot."""
        with self._renewing:
            asked_at = time.monotonic()
            lines = list(self._lines)
            try:
                orders = self._jobs.heartbeat(self._claim, timedelta(seconds=self._lease_s), lines)
            except LeaseLost:
                self._refused = True
                raise
            with self._lines_lock:
                del self._lines[: len(lines)]
            self._good_until = asked_at + self._lease_s * (1 - _MARGIN)
            self._stop_requested = orders.stop or self._stop_requested

    def _keep(self) -> None:
        wait_s = 0.0  # the first at once: the claim may have taken long
        while not self._stop.wait(wait_s):
            wait_s = self._heartbeat_s
            try:
                self.renew()
            except LeaseLost:
                return
            except Exception as error:  # whatever a database or a network comes up with
                self._log.warning("lease_not_renewed", error=str(error))
                wait_s = self._heartbeat_s / 4
