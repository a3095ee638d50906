"""A worker's loop, without Celery: claim, train, publish, finish, until nothing is left."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import TypeVar

import structlog

from pgd_core.errors import LeaseLost, PgdError
from pgd_core.jobs.job import ENDINGS, Artifact, Claim, Job, Reason
from pgd_core.jobs.machine import Device, Offer
from pgd_core.jobs.protocols import FileStore, JobStore, LibraryStore
from worker.attempt import check_shares, prepare, publish
from worker.lease import LeaseKeeper
from worker.processes import end_earlier
from worker.slots import Slots
from worker.supervisor import Limits, asked_to_stop, supervise
from worker.sweep import tidy
from worker.verdict import (
    Verdict,
    may_pass,
    verdict_before_start,
    verdict_of_error,
    verdict_of_exit,
)

TRAINER = ("-m", "pgd_core.training")  # of Python; or under torchrun
# How long a finished attempt waits for a storage or a database that is down, before its work is
# given up.
_PATIENCE_S = 600.0
# How long after its end a trainer's own memory may still show on its GPU.
_SETTLES_S = 2.0

T = TypeVar("T")

log = structlog.get_logger()


@dataclass(frozen=True)
class RunnerOptions:
    """What a worker serves, where it works and how long things may take."""

    worker: str  # its name, for people
    attempts: Path  # folder of the attempts' folders
    pool: str = "default"
    weights_folder: Path | None = None
    dataset_roots: Sequence[Path] = ()
    lease_s: float = 60.0
    heartbeat_s: float = 2.0
    limits: Limits = field(default_factory=Limits)
    trainer: Sequence[str] = TRAINER
    environment: Callable[[Sequence[Device]], Mapping[str, str]] = lambda _: {}  # of a trainer

    def __post_init__(self) -> None:
        if self.heartbeat_s > self.lease_s / 3:
            raise ValueError(
                f"a heartbeat every {self.heartbeat_s:g} s is too rare for a lease of "
                f"{self.lease_s:g} s: set PGD_HEARTBEAT_S to a third of PGD_LEASE_S at most"
            )


class Runner:
    """Runs jobs one after another."""

    def __init__(
        self,
        jobs: JobStore,
        library: LibraryStore,
        files: FileStore,
        slots: Slots,
        options: RunnerOptions,
    ) -> None:
        self._jobs, self._library, self._files = jobs, library, files
        self._slots, self._options = slots, options
        self._shutting_down = threading.Event()
        self._woken: list[threading.Thread] = []

    def shut_down(self) -> None:
        """Claim nothing more; the running trainer writes a checkpoint and its job is requeued."""
        self._shutting_down.set()

    def wake(self) -> None:
        """Work in a thread of its own, if there is a device to work on."""
        self._woken = [thread for thread in self._woken if thread.is_alive()]
        if self._slots.usable() and not self._shutting_down.is_set():
            thread = threading.Thread(target=self._work_woken, name="woken")
            self._woken.append(thread)
            thread.start()

    def join(self) -> None:
        """Wait for the threads that `wake` started."""
        for thread in self._woken:
            thread.join()

    def work(self) -> int:
        """Run what there is to run on what is free; how many attempts that were."""
        done = 0
        while not self._shutting_down.is_set() and self._run_next():
            done += 1
        return done

    def _work_woken(self) -> None:
        try:
            self.work()
        except Exception:  # a database that is down: the next heartbeat wakes again
            log.exception("work_broke")

    def _run_next(self) -> bool:
        taken = self._claim()
        if taken is None:
            return False
        job, claim, claimed_at, devices = taken
        try:
            self._attempt(job, claim, claimed_at, devices)
        finally:
            self._slots.release(devices)
        return True

    def _claim(self) -> tuple[Job, Claim, float, tuple[Device, ...]] | None:
        options = self._options
        with self._slots.claiming() as free:
            if not free:
                return None
            claimed_at = time.monotonic()
            offer = Offer(options.worker, options.pool, free)
            claimed = self._jobs.claim(offer, timedelta(seconds=options.lease_s))
            if claimed is None:
                return None
            job, claim = claimed
            return job, claim, claimed_at, self._slots.hold(job.slots)

    def _attempt(
        self, job: Job, claim: Claim, claimed_at: float, devices: Sequence[Device]
    ) -> None:
        with structlog.contextvars.bound_contextvars(job=job.id, attempt=claim.attempt):
            log.info("claimed", kind=job.kind, pool=job.pool, slots=job.slots)
            try:
                self._run(job, claim, claimed_at, devices)
            except LeaseLost as error:
                log.warning("lease_lost", message=error.message)

    def _run(self, job: Job, claim: Claim, claimed_at: float, devices: Sequence[Device]) -> None:
        with LeaseKeeper(
            self._jobs,
            claim,
            claimed_at=claimed_at,
            lease_s=self._options.lease_s,
            heartbeat_s=self._options.heartbeat_s,
        ) as lease:
            verdict, artifacts = self._carry_out(job, claim, lease, devices)
            ended = self._finish(claim, lease, verdict, artifacts)
        self._tidy(ended)

    def _carry_out(
        self, job: Job, claim: Claim, lease: LeaseKeeper, devices: Sequence[Device]
    ) -> tuple[Verdict, list[Artifact]]:
        artifacts: list[Artifact] = []
        in_doubt: Sequence[Device] | None = devices  # where the verdict puts the machine in doubt
        try:
            verdict, folder = self._train(job, claim, lease, devices)
            if verdict.reason is Reason.COMPLETED:
                artifacts = self._publish(folder, claim, lease)
                self._slots.worked(devices)
        except LeaseLost:
            raise
        except Exception as error:
            if not isinstance(error, PgdError):
                log.exception("attempt_broke")
            verdict, in_doubt = verdict_of_error(error), None  # what all its devices share
        if ENDINGS[verdict.reason].worker_rests:
            self._slots.rest(verdict.message, in_doubt)
        return verdict, artifacts

    def _train(
        self, job: Job, claim: Claim, lease: LeaseKeeper, devices: Sequence[Device]
    ) -> tuple[Verdict, Path]:
        options = self._options
        if job.attempt > 1 and (left := end_earlier(job.id, job.attempt)):
            log.warning("earlier_attempt_ended", pids=left)
        folder = prepare(
            job,
            options.attempts,
            self._jobs,
            self._library,
            self._files,
            device="cuda" if any(device.uuid for device in devices) else "cpu",
            weights_folder=options.weights_folder,
            dataset_roots=options.dataset_roots,
        )
        if cause := asked_to_stop(lease, self._shutting_down.is_set):
            return verdict_before_start(cause), folder
        self._jobs.started(claim)
        ended = supervise(
            _command(options.trainer, len(devices)),
            folder,
            claim,
            lease,
            options.limits,
            self._shutting_down.is_set,
            options.environment(devices),
        )
        return self._or_the_machines(verdict_of_exit(ended, folder), folder, devices), folder

    def _or_the_machines(
        self, verdict: Verdict, folder: Path, devices: Sequence[Device]
    ) -> Verdict:
        """The verdict, unless what it blames on the job is seen to be this machine's."""
        if verdict.reason is Reason.BAD_DATASET:
            check_shares(folder, self._options.dataset_roots)
        if verdict.reason is Reason.OUT_OF_MEMORY:
            self._shutting_down.wait(_SETTLES_S)
            if used := self._slots.used_by_others(devices):
                return Verdict(Reason.WORKER_TROUBLE, f"{verdict.message}; meanwhile {used}")
        return verdict

    def _publish(self, folder: Path, claim: Claim, lease: LeaseKeeper) -> list[Artifact]:
        artifacts: list[Artifact] = []

        def publish_the_rest() -> None:
            for artifact in publish(folder, claim, self._files):
                artifacts.append(artifact)  # one by one: a try that breaks off has made some

        self._patiently(
            publish_the_rest, "publish_failed", lambda: lease.lost or bool(lease.stop_requested)
        )
        return artifacts

    def _finish(
        self, claim: Claim, lease: LeaseKeeper, verdict: Verdict, artifacts: list[Artifact]
    ) -> Job:
        def finish() -> Job:
            lease.renew()  # the last lines of progress
            return self._jobs.finish(
                claim, verdict.reason, verdict.message, result=verdict.result, artifacts=artifacts
            )

        job = self._patiently(finish, "finish_failed")
        log.info("finished", state=job.state, reason=verdict.reason)
        return job

    def _patiently(
        self, step: Callable[[], T], told: str, in_vain: Callable[[], bool] = lambda: False
    ) -> T:
        """What the step gives, tried again while it breaks for a reason that may pass."""
        deadline = time.monotonic() + _PATIENCE_S
        while True:
            try:
                return step()
            except Exception as error:  # whatever a database or a network comes up with
                if not may_pass(error):
                    raise
                log.warning(told, error=str(error))
                if time.monotonic() > deadline or self._shutting_down.is_set() or in_vain():
                    raise
            self._shutting_down.wait(self._options.heartbeat_s / 4)

    def _tidy(self, ended: Job) -> None:
        try:
            tidy(ended, self._options.attempts, self._jobs, self._files)
        except Exception as error:  # the job has ended well; the reconciler sweeps what is left
            log.warning("not_tidied", error=str(error))


def _command(trainer: Sequence[str], processes: int) -> list[str]:
    """One process, or one for each device under torchrun, which they meet through."""
    if processes == 1:
        return [sys.executable, *trainer]
    torchrun = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    return [sys.executable, *torchrun, *trainer]
