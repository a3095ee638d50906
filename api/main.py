"""The HTTP API: `create_app` puts its parts together."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from importlib.metadata import version
from pathlib import Path

from fastapi import FastAPI
from sqlalchemy import Engine

from api import docs_page, errors, openapi
from api.audit import Audit
from api.door import Door
from api.known_keys import KnownKeys
from api.limits import BodyLimit, RequestId, SameSite
from api.live_lines import watcher_of
from api.metrics import Measure, Metrics
from api.places import Places
from api.predicting import Predictor
from api.rates import Rates
from api.readiness import readiness_checks
from api.routes import (
    artifacts,
    audit,
    compare,
    curves,
    dataset_files,
    datasets,
    health,
    history,
    job_actions,
    jobs,
    keys,
    me,
    metrics,
    models,
    predictions,
    problem_pages,
    queue,
    streams,
    teacher_actions,
    teachers,
    teams,
    tus,
    uploads,
    webhooks,
    workers,
)
from api.services import Hints, Services
from api.tus_protocol import TusProtocol
from pgd_core.files import open_files
from pgd_core.files.leftovers import delete_idle
from pgd_core.settings import Settings
from pgd_core.store import (
    SqlAnswerStore,
    SqlAuditStore,
    SqlJobStore,
    SqlKeyStore,
    SqlLibraryStore,
    SqlModelStore,
    SqlQueue,
    SqlTeamStore,
    SqlUnfinishedStore,
    SqlWebhookStore,
    SqlWorkerStore,
    open_engine,
)
from pgd_core.store.curves import SqlCurveStore
from pgd_core.store.figures import SqlFigures
from worker.queue import HintSender

ROUTES = (
    jobs,
    job_actions,
    history,
    streams,
    curves,
    artifacts,
    queue,
    workers,
    teams,
    dataset_files,
    datasets,
    teacher_actions,
    teachers,
    models,
    predictions,
    compare,
    uploads,
    tus,
    keys,
    me,
    audit,
    webhooks,
    health,
    metrics,
    problem_pages,
)
ABANDONED_AFTER = timedelta(days=1)


def create_app(settings: Settings, *, hints: Hints | None = None) -> FastAPI:
    """The service over the database, files and queue that `settings` name.

    The database must be migrated: /readyz says so where it is not.
    """
    settings.data_folder.mkdir(parents=True, exist_ok=True)
    engine = open_engine(settings.resolved_database_url())
    sender = HintSender(settings.resolved_redis_url())
    services = _services(settings, engine, hints or sender)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        _sweep(services.scratch_folder())
        yield
        services.live.close()
        sender.close()
        engine.dispose()

    app = FastAPI(
        title="PGD",
        version=version("pgd"),
        summary="Distils light object detectors from heavy ones",
        lifespan=lifespan,
        generate_unique_id_function=openapi.operation_id,
        redirect_slashes=False,
        docs_url=None,  # api.docs_page has a page of its own
        redoc_url=None,
    )
    app.state.services = services
    _install(app)
    return app


def _services(settings: Settings, engine: Engine, hints: Hints) -> Services:
    files = open_files(settings)
    return Services(
        settings=settings,
        jobs=SqlJobStore(engine, settings.scheduling_rules()),
        places=Places(SqlQueue(engine, settings.scheduling_rules())),
        teams=SqlTeamStore(engine),
        workers=SqlWorkerStore(engine),
        library=SqlLibraryStore(engine),
        unfinished=SqlUnfinishedStore(engine),
        models=SqlModelStore(engine),
        predictor=Predictor.of(settings),
        keys=KnownKeys(SqlKeyStore(engine)),
        audit=SqlAuditStore(engine),
        answers=SqlAnswerStore(engine),
        rates=Rates(settings.rate_limit_per_s, settings.rate_limit_burst),
        live=watcher_of(engine),
        webhooks=SqlWebhookStore(engine),
        curves=SqlCurveStore(engine),
        metrics=Metrics(SqlFigures(engine)),
        files=files,
        hints=hints,
        checks=readiness_checks(settings, engine, files),
    )


def _install(app: FastAPI) -> None:
    """Everything between the socket and the routes, and the routes."""
    app.add_middleware(BodyLimit)
    app.add_middleware(Audit)
    app.add_middleware(Door)
    app.add_middleware(SameSite)
    app.add_middleware(TusProtocol)
    app.add_middleware(Measure)
    app.add_middleware(RequestId)  # the last one added is the first one entered
    errors.install(app)
    openapi.install(app)
    docs_page.install(app)
    for module in ROUTES:
        app.include_router(module.router)


def _sweep(folder: Path) -> None:
    """Remove half-arrived uploads that a killed process left long ago."""
    for file in folder.glob("*"):
        delete_idle(file, ABANDONED_AFTER)
