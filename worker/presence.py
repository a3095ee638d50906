"""A worker's own heartbeat: it says that it lives, and hears whether to drain and to work."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping

import structlog

from pgd_core.errors import NotFound
from pgd_core.jobs.machine import Worker
from pgd_core.jobs.protocols import WorkerStore

log = structlog.get_logger()


class Presence:
    """Announces the worker and keeps it known; a context manager.

    The heartbeat also says when jobs wait: so they start, a moment later, without Redis too.
    """

    def __init__(
        self,
        workers: WorkerStore,
        worker: Worker,
        *,
        every_s: float,
        troubles: Callable[[], Mapping[int, str]],  # by slot, why it cannot be used now
        wake: Callable[[], None],  # jobs wait; called while not draining
        heard: Callable[[], None] = lambda: None,  # the database took the heartbeat
    ) -> None:
        self._workers, self._worker = workers, worker
        self._every_s, self._troubles = every_s, troubles
        self._wake, self._heard = wake, heard
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._keep, name="presence")

    def __enter__(self) -> Presence:
        self._workers.announce(self._worker)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        try:
            self._workers.stopped(self._worker.name)
        except Exception as error:  # a database that is down: the worker will be shown as lost
            log.warning("goodbye_not_said", error=str(error))

    def _keep(self) -> None:
        while not self._stop.is_set():
            try:
                self._beat()
            except Exception as error:  # whatever a database or a network comes up with
                log.warning("heartbeat_failed", error=str(error))
            self._stop.wait(self._every_s)

    def _beat(self) -> None:
        troubles = self._troubles()
        try:
            orders = self._workers.beat(self._worker.name, troubles)
        except NotFound:
            self._workers.announce(self._worker)
            return
        self._heard()
        if orders.waiting and not orders.drain:  # in trouble too: some devices may be usable
            self._wake()
