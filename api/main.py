"""The HTTP API: `create_app` puts its parts together."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from importlib.metadata import version
from pathlib import Path

from fastapi import FastAPI
from sqlalchemy import Engine

from api import errors, openapi
from api.audit import Audit
from api.door import Door
from api.limits import BodyLimit, RequestId, SameSite
from api.places import Places
from api.rates import Rates
from api.readiness import readiness_checks
from api.routes import (
    artifacts,
    audit,
    datasets,
    health,
    history,
    job_actions,
    jobs,
    keys,
    me,
    problem_pages,
    queue,
    teachers,
    teams,
    uploads,
    workers,
)
from api.services import Hints, Services
from pgd_core.files import open_files
from pgd_core.files.leftovers import delete_idle
from pgd_core.settings import Settings
from pgd_core.store import (
    SqlAnswerStore,
    SqlAuditStore,
    SqlJobStore,
    SqlKeyStore,
    SqlLibraryStore,
    SqlQueue,
    SqlTeamStore,
    SqlWorkerStore,
    open_engine,
)
from worker.queue import HintSender

ROUTES = (
    jobs,
    job_actions,
    history,
    artifacts,
    queue,
    workers,
    teams,
    datasets,
    teachers,
    uploads,
    keys,
    me,
    audit,
    health,
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
        sender.close()
        engine.dispose()

    app = FastAPI(
        title="PGD",
        version=version("pgd"),
        summary="Distils light object detectors from heavy ones",
        lifespan=lifespan,
        generate_unique_id_function=openapi.operation_id,
        redirect_slashes=False,
        redoc_url=None,  # one page of documentation, /docs, is enough
        swagger_ui_oauth2_redirect_url=None,
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
        keys=SqlKeyStore(engine),
        audit=SqlAuditStore(engine),
        answers=SqlAnswerStore(engine),
        rates=Rates(settings.rate_limit_per_s, settings.rate_limit_burst),
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
    app.add_middleware(RequestId)  # the last one added is the first one entered
    errors.install(app)
    openapi.install(app)
    for module in ROUTES:
        app.include_router(module.router)


def _sweep(folder: Path) -> None:
    """Remove half-arrived uploads that a killed process left long ago."""
    for file in folder.glob("*"):
        delete_idle(file, ABANDONED_AFTER)
