"""Puts right what got stuck: `python -m worker.reconciler`, one beside each database.

Every round: attempts whose lease ran out end as worker_lost, silent workers are lost, and pools
with queued jobs that no worker was told of are hinted. Beside the rounds, data sets and teachers
are checked one at a time, studies are driven, jobs of lower class make room for those of higher,
and what nobody needs any more is deleted. Webhooks are told what happened.
Two reconcilers do no harm: each step is guarded in the database.
"""

from __future__ import annotations

import signal
import sys
import threading
from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from types import FrameType

import structlog
from sqlalchemy import Engine

from pgd_core.files import open_files
from pgd_core.files.shares import DataFolder
from pgd_core.jobs.datasets import DATASETS_FOLDER
from pgd_core.jobs.protocols import JobStore, Queue, WorkerStore
from pgd_core.settings import Settings
from pgd_core.store import (
    SqlHousekeeping,
    SqlJobStore,
    SqlLibraryStore,
    SqlQueue,
    SqlStudyStore,
    SqlUnfinishedStore,
    SqlWebhookStore,
    SqlWorkerStore,
    migrate,
    open_engine,
)
from worker.checks import Checker
from worker.dataset_sources import DatasetSources
from worker.health import SignOfLife
from worker.logs import configure_logs
from worker.processes import end_orphans
from worker.queue import HintNotSent, HintSender
from worker.studies import StudyDriver
from worker.sweep import Retention, sweep
from worker.sweep_unfinished import sweep_unfinished
from worker.webhooks import Reach, WebhookSender

# A hint that Redis lost is given again after so many rounds.
_HINT_AGAIN_ROUNDS = 4
# Between two looks for things to check: registering feels immediate.
_CHECK_EVERY_S = 1.0
_DRIVE_EVERY_S = 2.0
_SWEEP_EVERY_S = 3600.0
# A worker that starts again has a new name: those that are gone would add up for ever.
_REMEMBER_GONE = timedelta(days=7)

Duty = tuple[str, Callable[[], object], float]

log = structlog.get_logger()


def main() -> int:
    """Composition root; returns the exit code."""
    configure_logs("reconciler")
    settings = Settings()
    swept = end_orphans()
    if swept:
        log.warning("orphans_ended", pids=swept)
    migrate(settings.resolved_database_url())
    engine = open_engine(settings.resolved_database_url())
    trouble = DataFolder(settings.data_folder, SqlWorkerStore(engine).shared_folder).trouble()
    if trouble:  # data sets would be unpacked where no worker finds them
        log.error("wrong_data_folder", message=trouble)
        return 1
    hints = HintSender(settings.resolved_redis_url())
    stop = threading.Event()
    checker = _checker(settings, engine)

    def asked(_number: int, _frame: FrameType | None) -> None:
        stop.set()
        checker.stop()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, asked)
    log.info("reconciler_starts")
    duties = [("checks", checker.check_all, _CHECK_EVERY_S), *_duties(settings, engine, hints)]
    threads = [
        threading.Thread(target=repeat, args=(step, every_s, stop), name=name)
        for name, step, every_s in duties
    ]
    if settings.webhook_sender:
        reach = Reach(settings.webhook_http, settings.webhook_networks)
        sender = WebhookSender(SqlWebhookStore(engine), reach)
        threads.append(threading.Thread(target=sender.run, args=(stop,), name="webhooks"))
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    hints.close()
    engine.dispose()
    return 0


def _checker(settings: Settings, engine: Engine) -> Checker:
    library, files, data = SqlLibraryStore(engine), open_files(settings), settings.data_folder
    sources = DatasetSources(
        library, files, data / DATASETS_FOLDER, min_free_bytes=settings.min_free_bytes
    )
    return Checker(library, files, data / "checks", sources=sources)


def _duties(settings: Settings, engine: Engine, hints: HintSender) -> list[Duty]:
    """What is done again and again beside the checks: name, step, seconds between."""
    rules = settings.scheduling_rules()
    jobs, files = SqlJobStore(engine, rules), open_files(settings)
    queue, workers = SqlQueue(engine, rules), SqlWorkerStore(engine)
    scratch = settings.data_folder / "checks"
    studies = StudyDriver(SqlStudyStore(engine), jobs, SqlLibraryStore(engine), files, scratch)
    rows, kept = SqlHousekeeping(engine), _retention(settings)
    unfinished = SqlUnfinishedStore(engine)
    data_folder = settings.data_folder.resolve()
    again_after = timedelta(seconds=_HINT_AGAIN_ROUNDS * settings.reconcile_s)
    sign = SignOfLife(data_folder, "reconciler")

    def put_right() -> None:
        all_went = in_turn(
            mark_lost=lambda: mark_lost(workers, timedelta(seconds=settings.lease_s)),
            raise_old=lambda: raise_old(queue),
        )
        if reconcile(jobs, hints, again_after) and all_went:
            sign.give()

    def drive() -> None:
        in_turn(
            studies=studies.advance_all,
            preempt=lambda: preempt(queue),
            hints=lambda: give_hints(jobs, hints, again_after),  # the next jobs start at once
        )

    return [
        ("reconcile", put_right, settings.reconcile_s),
        ("queue", drive, _DRIVE_EVERY_S),
        ("sweeps", lambda: sweep(data_folder, jobs, files, rows, kept), _SWEEP_EVERY_S),
        ("workers", lambda: forget_gone(workers, _REMEMBER_GONE), _SWEEP_EVERY_S),
        ("unfinished", lambda: sweep_unfinished(data_folder, unfinished), _SWEEP_EVERY_S),
    ]


def _retention(settings: Settings) -> Retention:
    return Retention(
        failed=timedelta(days=settings.keep_failed_days),
        logs=timedelta(days=settings.keep_logs_days),
        uploads=timedelta(days=settings.keep_uploads_days),
    )


def in_turn(**steps: Callable[[], object]) -> bool:
    """Do each step; one that fails is told, and holds up none of the others. Whether all went."""
    failed = [name for name, step in steps.items() if not _went(name, step)]
    return not failed


def _went(name: str, step: Callable[[], object]) -> bool:
    try:
        step()
    except Exception:  # the next round does it again
        log.exception("step_failed", step=name)
        return False
    return True


def mark_lost(workers: WorkerStore, silent_for: timedelta) -> None:
    """Workers that were silent for so long are lost."""
    for worker in workers.mark_lost(silent_for):
        log.warning("worker_lost", worker=worker.name, pool=worker.pool)


def forget_gone(workers: WorkerStore, gone_for: timedelta) -> None:
    """Workers that are gone for so long are shown no more."""
    for name in workers.forget(gone_for):
        log.info("worker_forgotten", worker=name)


def raise_old(queue: Queue) -> None:
    """Jobs of class low that have waited too long become normal."""
    for job in queue.raise_old():
        log.info("raised", job=job.id)


def preempt(queue: Queue) -> None:
    """Jobs of lower class are asked to make room."""
    for job in queue.preempt():
        log.info("preempted", job=job.id, worker=job.worker)


def reconcile(jobs: JobStore, hints: HintSender, again_after: timedelta) -> bool:
    """What a silent worker held goes on, and queued jobs are hinted. Whether all of it went."""
    return in_turn(
        expire_leases=lambda: expire_leases(jobs),
        hints=lambda: give_hints(jobs, hints, again_after),
    )


def expire_leases(jobs: JobStore) -> None:
    """Attempts whose lease ran out end."""
    for job in jobs.expire_leases():
        log.warning("lease_expired", job=job.id, attempt=job.attempt, state=job.state)


def give_hints(jobs: JobStore, hints: HintSender, again_after: timedelta) -> None:
    """A hint for each queued job that no worker was told of, or long ago."""
    for pool, hints_of_pool in Counter(jobs.pending_hints(again_after=again_after)).items():
        try:
            for _ in range(hints_of_pool):
                hints.send(pool)
        except HintNotSent as error:
            log.warning("hint_not_sent", message=error.message)
            return
        jobs.hinted(pool)
        log.info("hinted", pool=pool, hints=hints_of_pool)


def repeat(step: Callable[[], object], every_s: float, stop: threading.Event) -> None:
    """Do a step again and again; one that fails is told, and done again."""
    while not stop.is_set():
        try:
            step()
        except Exception:  # a database that is down comes back
            log.exception("step_failed", step=getattr(step, "__qualname__", ""))
        stop.wait(every_s)


if __name__ == "__main__":
    sys.exit(main())
