"""A worker's loop, without Celery: claim, train, publish, finish, until nothing is left."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Literal

import structlog

from pgd_core.errors import LeaseLost, PgdError
from pgd_core.jobs.job import Artifact, Claim, Job, Reason
from pgd_core.jobs.protocols import FileStore, JobStore, LibraryStore
from worker.attempt import prepare, publish
from worker.lease import LeaseKeeper
from worker.supervisor import Limits, supervise
from worker.sweep import tidy
from worker.verdict import Verdict, verdict_of_error, verdict_of_exit

# How long a finished attempt waits for a database that is down, before its work is given up.
_FINISH_PATIENCE_S = 600.0

log = structlog.get_logger()


@dataclass(frozen=True)
class RunnerOptions:
    """What a worker serves, where it works and how long things may take."""

    worker: str  # its name, for people
    attempts: Path  # folder of the attempts' folders
    pool: str = "default"
    device: Literal["auto", "cpu", "cuda"] = "auto"
    weights_folder: Path | None = None
    lease_s: float = 60.0
    heartbeat_s: float = 2.0
    limits: Limits = field(default_factory=Limits)
    trainer: Sequence[str] = (sys.executable, "-m", "pgd_core.training")

    def __post_init__(self) -> None:
        if self.heartbeat_s > self.lease_s / 3:
            raise ValueError(
                f"a heartbeat every {self.heartbeat_s:g} s is too rare for a lease of "
                f"{self.lease_s:g} s: set PGD_HEARTBEAT_S to a third of PGD_LEASE_S at most"
            )


class Runner:
    """Runs jobs one after another."""

    def __init__(
        self, jobs: JobStore, library: LibraryStore, files: FileStore, options: RunnerOptions
    ) -> None:
        self._jobs, self._library, self._files = jobs, library, files
        self._options = options
        self._shutting_down = threading.Event()

    def shut_down(self) -> None:
        """Claim nothing more; the running trainer writes a checkpoint and its job is requeued."""
        self._shutting_down.set()

    def work(self) -> int:
        """Run what there is to run; how many attempts that were."""
        done = 0
        while not self._shutting_down.is_set() and self._run_next():
            done += 1
        return done

    def _run_next(self) -> bool:
        options = self._options
        claimed_at = time.monotonic()
        claimed = self._jobs.claim(options.worker, options.pool, timedelta(seconds=options.lease_s))
        if claimed is None:
            return False
        job, claim = claimed
        with structlog.contextvars.bound_contextvars(job=job.id, attempt=claim.attempt):
            log.info("claimed", kind=job.kind, pool=job.pool)
            try:
                self._run(job, claim, claimed_at)
            except LeaseLost as error:
                log.warning("lease_lost", message=error.message)
        return True

    def _run(self, job: Job, claim: Claim, claimed_at: float) -> None:
        with LeaseKeeper(
            self._jobs,
            claim,
            claimed_at=claimed_at,
            lease_s=self._options.lease_s,
            heartbeat_s=self._options.heartbeat_s,
        ) as lease:
            artifacts: list[Artifact] = []
            try:
                verdict, folder = self._train(job, claim, lease)
                if verdict.reason is Reason.COMPLETED:
                    artifacts = publish(folder, claim, self._files)
            except LeaseLost:
                raise
            except Exception as error:
                if not isinstance(error, PgdError):
                    log.exception("attempt_broke")
                verdict = verdict_of_error(error)
            ended = self._finish(claim, lease, verdict, artifacts)
        self._tidy(ended)

    def _train(self, job: Job, claim: Claim, lease: LeaseKeeper) -> tuple[Verdict, Path]:
        options = self._options
        folder = prepare(
            job,
            options.attempts,
            self._library,
            self._files,
            device=options.device,
            weights_folder=options.weights_folder,
        )
        self._jobs.started(claim)
        ended = supervise(
            options.trainer, folder, claim, lease, options.limits, self._shutting_down.is_set
        )
        return verdict_of_exit(ended, folder), folder

    def _finish(
        self, claim: Claim, lease: LeaseKeeper, verdict: Verdict, artifacts: list[Artifact]
    ) -> Job:
        deadline = time.monotonic() + _FINISH_PATIENCE_S
        while True:
            try:
                lease.renew()  # the last lines of progress
                job = self._jobs.finish(
                    claim,
                    verdict.reason,
                    verdict.message,
                    result=verdict.result,
                    artifacts=artifacts,
                )
                log.info("finished", state=job.state, reason=verdict.reason)
                return job
            except PgdError:
                raise
            except Exception as error:  # whatever a database or a network comes up with
                log.warning("finish_failed", error=str(error))
                if time.monotonic() > deadline or self._shutting_down.is_set():
                    raise
                time.sleep(self._options.heartbeat_s / 4)

    def _tidy(self, ended: Job) -> None:
        try:
            tidy(ended, self._options.attempts, self._jobs, self._files)
        except Exception as error:  # the job has ended well; the reconciler sweeps what is left
            log.warning("not_tidied", error=str(error))
