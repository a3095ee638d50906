"""Puts right what got stuck: `python -m worker.reconciler`, one beside each database.

Every round: attempts whose lease ran out end as worker_lost, and pools with queued jobs that no
worker was told of are hinted. Beside the rounds, data sets and teachers are checked one at a time,
studies are driven, and what attempts left behind is swept.
Two reconcilers do no harm: each step is guarded in the database.
"""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Callable
from datetime import timedelta
from types import FrameType

import structlog

from pgd_core.files import open_files
from pgd_core.jobs.protocols import JobStore
from pgd_core.settings import Settings
from pgd_core.store import SqlJobStore, SqlLibraryStore, SqlStudyStore, migrate, open_engine
from worker.checks import Checker
from worker.logs import configure_logs
from worker.processes import end_orphans
from worker.queue import HintNotSent, HintSender
from worker.studies import StudyDriver
from worker.sweep import sweep

# A hint that Redis lost is given again after so many rounds.
_HINT_AGAIN_ROUNDS = 4
# Between two looks for things to check: registering feels immediate.
_CHECK_EVERY_S = 1.0
_STUDY_EVERY_S = 2.0
_SWEEP_EVERY_S = 3600.0

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
    jobs, files = SqlJobStore(engine), open_files(settings)
    library, scratch = SqlLibraryStore(engine), settings.data_folder / "checks"
    checker = Checker(library, files, scratch)
    studies = StudyDriver(SqlStudyStore(engine), jobs, library, files, scratch)
    hints = HintSender(settings.resolved_redis_url())
    attempts = settings.data_folder.resolve() / "attempts"
    again_after = timedelta(seconds=_HINT_AGAIN_ROUNDS * settings.reconcile_s)
    stop = threading.Event()

    def asked(_number: int, _frame: FrameType | None) -> None:
        stop.set()
        checker.stop()

    def drive_studies() -> None:
        studies.advance_all()
        give_hints(jobs, hints, again_after)  # the next jobs start at once

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, asked)
    log.info("reconciler_starts")
    beside = [
        threading.Thread(target=repeat, args=(step, every_s, stop), name=name)
        for name, step, every_s in (
            ("checks", checker.check_all, _CHECK_EVERY_S),
            ("studies", drive_studies, _STUDY_EVERY_S),
            ("sweeps", lambda: sweep(attempts, jobs, files), _SWEEP_EVERY_S),
        )
    ]
    for thread in beside:
        thread.start()
    repeat(lambda: reconcile(jobs, hints, again_after), settings.reconcile_s, stop)
    for thread in beside:
        thread.join()
    hints.close()
    engine.dispose()
    return 0


def reconcile(jobs: JobStore, hints: HintSender, again_after: timedelta) -> None:
    """One round."""
    for job in jobs.expire_leases():
        log.warning("lease_expired", job=job.id, attempt=job.attempt, state=job.state)
    give_hints(jobs, hints, again_after)


def give_hints(jobs: JobStore, hints: HintSender, again_after: timedelta) -> None:
    """A hint for each queued job that no worker was told of, or long ago."""
    for pool in jobs.pending_hints(again_after=again_after):
        try:
            hints.send(pool)
        except HintNotSent as error:
            log.warning("hint_not_sent", message=error.message)
            return
        jobs.hinted(pool)
        log.info("hinted", pool=pool)


def repeat(step: Callable[[], None], every_s: float, stop: threading.Event) -> None:
    """Do a step again and again; one that fails is told, and done again."""
    while not stop.is_set():
        try:
            step()
        except Exception:  # a database that is down comes back
            log.exception("step_failed", step=getattr(step, "__qualname__", ""))
        stop.wait(every_s)


if __name__ == "__main__":
    sys.exit(main())
