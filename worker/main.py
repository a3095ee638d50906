"""One GPU's worker: `python -m worker.main`, a Celery worker of one slot of a pool.

SIGTERM asks the running trainer to write a checkpoint, puts its job back into the queue and ends.
"""

from __future__ import annotations

import os
import socket
import sys
from typing import Any, Literal, cast

import structlog
from celery import Celery, signals

from pgd_core.files import open_files
from pgd_core.settings import Settings
from pgd_core.store import SqlJobStore, SqlLibraryStore, migrate, open_engine
from worker.app import worker_app
from worker.logs import configure_logs
from worker.processes import end_orphans
from worker.queue import HintNotSent, HintSender, queue_name
from worker.runner import Runner, RunnerOptions
from worker.supervisor import Limits
from worker.tasks import register_tasks

log = structlog.get_logger()


def main() -> int:
    """Composition root; returns the exit code."""
    configure_logs("worker")
    settings = Settings()
    files = open_files(settings)
    name = f"{socket.gethostname()}:{os.getpid()}"
    swept = end_orphans()
    if swept:
        log.warning("orphans_ended", pids=swept)
    migrate(settings.resolved_database_url())
    engine = open_engine(settings.resolved_database_url())
    runner = Runner(
        SqlJobStore(engine),
        SqlLibraryStore(engine),
        files,
        runner_options(settings, name),
    )
    redis_url = settings.resolved_redis_url()
    app = worker_app(redis_url, settings.pool)
    register_tasks(app, runner)
    log.info("worker_starts", name=name, pool=settings.pool)
    try:
        return serve(app, runner, HintSender(redis_url), settings.pool)
    finally:
        engine.dispose()


def runner_options(settings: Settings, name: str) -> RunnerOptions:
    """What the settings mean for a runner."""
    return RunnerOptions(
        worker=name,
        attempts=settings.data_folder.resolve() / "attempts",
        pool=settings.pool,
        device=cast(Literal["auto", "cpu", "cuda"], settings.device),
        weights_folder=settings.weights_folder and settings.weights_folder.resolve(),
        lease_s=settings.lease_s,
        heartbeat_s=settings.heartbeat_s,
        limits=Limits(stop_grace_s=settings.stop_grace_s, max_duration_s=settings.max_duration_s),
    )


def serve(app: Celery, runner: Runner, hints: HintSender, pool: str) -> int:
    """Answer hints until a signal says stop; returns the exit code."""

    def ready(**_: Any) -> None:
        # Jobs may have waited since before Redis was emptied, or while no worker was there.
        try:
            hints.send(pool)
        except HintNotSent as error:
            log.warning("hint_not_sent", message=error.message)

    def shutting_down(**_: Any) -> None:
        # Celery's warm shutdown waits for the task, and this makes the task end within the
        # trainer's grace: its soft and cold shutdowns, which abandon tasks, are not needed.
        runner.shut_down()

    signals.worker_ready.connect(ready, weak=False)
    signals.worker_shutting_down.connect(shutting_down, weak=False)
    worker = app.Worker(
        hostname=f"{pool}-{os.getpid()}@{socket.gethostname()}",
        queues=[queue_name(pool)],
        without_gossip=True,  # workers know each other through the database
        without_mingle=True,
        loglevel="INFO",
        quiet=True,
    )
    worker.start()
    hints.close()
    return int(worker.exitcode or 0)


if __name__ == "__main__":
    sys.exit(main())
