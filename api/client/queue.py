"""The queue, its workers and its teams from Python."""

from __future__ import annotations

from urllib.parse import quote

from api.client.wire import Wire
from api.queue_views import QueueView, TeamView, WorkerView
from api.schemas import Page


class QueueCalls(Wire):
    """What is asked of the queue."""

    def queue(self, *, pool: str | None = None, after: int = 0, limit: int = 100) -> QueueView:
        """Every pool or one: who serves it, what runs, what waits behind position `after`."""
        return self._get("/v1/queue", QueueView, pool=pool, after=after, limit=limit)

    def workers(self, *, gone_too: bool = False) -> list[WorkerView]:
        """By pool and name; those that stopped only with `gone_too`."""
        return self._get("/v1/workers", Page[WorkerView], gone_too=gone_too).items

    def worker(self, name: str) -> WorkerView:
        """A worker and which job holds each of its devices."""
        return self._get(f"/v1/workers/{quote(name, safe='')}", WorkerView)

    def drain(self, name: str) -> WorkerView:
        """Let a worker finish what it runs and claim nothing more."""
        return self._post(f"/v1/workers/{quote(name, safe='')}:drain", WorkerView)

    def undrain(self, name: str) -> WorkerView:
        """Let a worker claim again."""
        return self._post(f"/v1/workers/{quote(name, safe='')}:undrain", WorkerView)

    def teams(self) -> list[TeamView]:
        """Teams by name."""
        return self._get("/v1/teams", Page[TeamView]).items

    def put_team(
        self,
        name: str,
        *,
        weight: float,
        max_running_gpus: int | None = None,
        max_queued_jobs: int | None = None,
    ) -> TeamView:
        """Make a team or change it; a limit that is left out is none."""
        body = {
            "weight": weight,
            "max_running_gpus": max_running_gpus,
            "max_queued_jobs": max_queued_jobs,
        }
        return self._ask("PUT", f"/v1/teams/{quote(name, safe='')}", TeamView, body)
