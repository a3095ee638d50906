"""What the routes work with, made once in `api.main` and handed in."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Protocol

import structlog
from fastapi import Depends, Request

from api.known_keys import KnownKeys
from api.live import Watcher
from api.metrics import Metrics
from api.places import Places
from api.predicting import Predictor
from api.rates import Rates
from pgd_core.jobs.answers import AnswerStore
from pgd_core.jobs.curves import CurveStore
from pgd_core.jobs.models import ModelStore
from pgd_core.jobs.protocols import (
    AuditStore,
    FileStore,
    JobStore,
    LibraryStore,
    TeamStore,
    WorkerStore,
)
from pgd_core.jobs.unfinished import UnfinishedStore
from pgd_core.jobs.webhooks import WebhookStore
from pgd_core.settings import Settings


class Hints(Protocol):
    """Tells workers that a pool has work."""

    def send(self, pool: str) -> None: ...


@dataclass(frozen=True)
class Services:
    """The parts of the service behind the HTTP routes."""

    settings: Settings
    jobs: JobStore
    places: Places
    teams: TeamStore
    workers: WorkerStore
    library: LibraryStore
    unfinished: UnfinishedStore
    models: ModelStore
    predictor: Predictor
    keys: KnownKeys
    audit: AuditStore
    answers: AnswerStore
    rates: Rates
    live: Watcher
    webhooks: WebhookStore
    curves: CurveStore
    metrics: Metrics
    files: FileStore
    hints: Hints
    checks: dict[str, Callable[[], str]]  # by name; the text says what was found, or it raises

    def wake(self, pool: str) -> None:
        """Hint a pool's workers. It may fail: the job is stored, the reconciler hints again."""
        try:
            self.hints.send(pool)
            self.jobs.hinted(pool)
        except Exception as error:  # whatever the broker's client raises
            structlog.get_logger().warning("hint_not_sent", pool=pool, error=str(error))

    def scratch_folder(self) -> Path:
        """Where half-arrived uploads lie."""
        return self.settings.data_folder / "incoming"

    def unfinished_file(self, upload_id: str) -> Path:
        """Where the bytes of a resumable upload lie until it is whole."""
        return self.settings.data_folder / "unfinished" / upload_id

    def attempt_folder(self, job_id: str, attempt: int) -> Path:
        """Where a trainer's log and progress lie."""
        return self.settings.data_folder / "attempts" / job_id / str(attempt)


async def services_of(request: Request) -> Services:
    """The services of the application that answers `request`."""
    services = request.app.state.services
    assert isinstance(services, Services)
    return services


ServicesDep = Annotated[Services, Depends(services_of)]
