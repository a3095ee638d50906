"""The trainer's process: started, watched, asked to stop, and gone without a trace at the end."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum, auto
from pathlib import Path

import structlog

from pgd_core.errors import LeaseLost
from pgd_core.jobs.job import Claim, StopRequest
from pgd_core.jobs.run import ALIVE_FILE, LOG_FILE, PROGRESS_FILE, RUN_FILE, STOP_FILE
from worker.lease import LeaseKeeper
from worker.processes import end_members, marks
from worker.progress import ProgressTail

log = structlog.get_logger()


class StopCause(Enum):
    """Why a trainer was asked to stop."""

    CANCEL = auto()
    PAUSE = auto()
    PREEMPT = auto()
    SHUTDOWN = auto()
    MAX_DURATION = auto()
    STALLED = auto()


_CAUSES = {
    StopRequest.CANCEL: StopCause.CANCEL,
    StopRequest.PAUSE: StopCause.PAUSE,
    StopRequest.PREEMPT: StopCause.PREEMPT,
}


@dataclass(frozen=True)
class Limits:
    """How long things may take, in seconds."""

    stop_grace_s: float = 30.0  # from being asked to stop to having written a checkpoint
    cancel_grace_s: float = 10.0  # the same of a job that is given up
    max_duration_s: float | None = None  # of an attempt
    stall_s: float | None = 900.0  # without a sign of life, as in a native call that hangs
    poll_s: float = 0.2  # between two looks at the process

    def grace_s(self, cause: StopCause) -> float:
        """From being asked to stop to being killed."""
        shorter = min(self.cancel_grace_s, self.stop_grace_s)
        return shorter if cause is StopCause.CANCEL else self.stop_grace_s


@dataclass(frozen=True)
class Exit:
    """How a trainer's process ended."""

    code: int  # negative: the signal that ended it
    cause: StopCause | None  # why it was asked to stop, if it was
    left: tuple[int, ...] = ()  # processes of it that survive even SIGKILL, as in a hung driver


def supervise(
    trainer: Sequence[str],  # the command; run.json and the folder are appended
    folder: Path,  # the attempt's; holds run.json
    claim: Claim,
    lease: LeaseKeeper,
    limits: Limits,
    shutting_down: Callable[[], bool],
    environment: Mapping[str, str],  # which devices it sees
) -> Exit:
    """Run the trainer to its end. When this returns or raises, no process of it is left.

    Raises LeaseLost, the trainer killed, when the job may be another worker's.
    """
    if lease.lost:  # as after being frozen on the way here
        raise LeaseLost(f"the lease of attempt {claim.attempt} ran out before its trainer started")
    marker = f"{claim.job_id}/{claim.attempt}"
    # torchrun, when asked to stop, kills its processes after 30 s by itself.
    patience = {"TORCH_ELASTIC_SHUTDOWN_TIMEOUT": f"{limits.stop_grace_s:.0f}"}
    process = _start(trainer, folder, marker, {**environment, **patience})
    gently_s = 0.0
    try:
        ended = _watch(process, folder, claim, lease, limits, shutting_down)
        gently_s = 2.0
    finally:
        left = end_members(marker, process.pid, gently_s=gently_s)
        if left:
            log.error("processes_survive_sigkill", pids=left)
        else:
            process.wait()
    return replace(ended, left=tuple(left))


def asked_to_stop(lease: LeaseKeeper, shutting_down: Callable[[], bool]) -> StopCause | None:
    """What a person, the queue or the worker's own shutdown asks of the attempt."""
    if lease.stop_requested is not None:
        return _CAUSES[lease.stop_requested]
    return StopCause.SHUTDOWN if shutting_down() else None


def log_end(folder: Path, lines: int = 20) -> str:
    """The last lines of the trainer's log."""
    try:
        with (folder / LOG_FILE).open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - 8192))
            text = file.read().decode(errors="replace")
    except FileNotFoundError:
        return ""
    return "\n".join(text.strip().splitlines()[-lines:])


def _start(
    trainer: Sequence[str], folder: Path, marker: str, environment: Mapping[str, str]
) -> subprocess.Popen[bytes]:
    # The trainer knows no database and no file store: our own settings, with their passwords, and
    # the storage's keys stay here.
    inherited = {n: v for n, v in os.environ.items() if not n.startswith(("PGD_", "AWS_"))}
    with (folder / LOG_FILE).open("ab") as output:
        return subprocess.Popen(
            [*trainer, str(folder / RUN_FILE), str(folder)],
            cwd=folder,
            env={**inherited, **environment, **marks(marker), "PYTHONUNBUFFERED": "1"},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def _watch(
    process: subprocess.Popen[bytes],
    folder: Path,
    claim: Claim,
    lease: LeaseKeeper,
    limits: Limits,
    shutting_down: Callable[[], bool],
) -> Exit:
    tail = ProgressTail(folder / PROGRESS_FILE)
    started_at, pulse = time.monotonic(), Pulse(folder / ALIVE_FILE)
    cause: StopCause | None = None
    patient_until = float("inf")
    while (code := _wait(process, limits.poll_s)) is None:
        lease.add(tail.new_lines())
        if lease.lost:
            raise LeaseLost(f"the lease of attempt {claim.attempt} could not be renewed in time")
        if cause is None:
            cause = _cause_to_stop(lease, limits, started_at, pulse, shutting_down)
            if cause is not None:
                log.info("trainer_asked_to_stop", cause=cause.name)
                _ask_to_stop(process, folder)
                patient_until = time.monotonic() + limits.grace_s(cause)
        if time.monotonic() > patient_until:
            log.warning("trainer_did_not_stop", cause=cause and cause.name)
            end_members(f"{claim.job_id}/{claim.attempt}", process.pid)
            patient_until = float("inf")
    while lines := tail.new_lines():
        lease.add(lines)
    return Exit(code, cause)


def _wait(process: subprocess.Popen[bytes], poll_s: float) -> int | None:
    try:
        return process.wait(poll_s)
    except subprocess.TimeoutExpired:
        return None


def _cause_to_stop(
    lease: LeaseKeeper,
    limits: Limits,
    started_at: float,
    pulse: Pulse,
    shutting_down: Callable[[], bool],
) -> StopCause | None:
    if (asked := asked_to_stop(lease, shutting_down)) is not None:
        return asked
    if limits.max_duration_s is not None and time.monotonic() - started_at > limits.max_duration_s:
        return StopCause.MAX_DURATION
    if limits.stall_s is not None and pulse.silent_s() > limits.stall_s:
        return StopCause.STALLED
    return None


class Pulse:
    """How long a trainer has shown no sign of life, by this machine's clock alone."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._seen: int | None = None
        self._seen_at = time.monotonic()

    def silent_s(self) -> float:
        """Seconds since the file changed last, or since the start."""
        try:
            changed = self._file.stat().st_mtime_ns
        except FileNotFoundError:
            changed = None
        if changed != self._seen:
            self._seen, self._seen_at = changed, time.monotonic()
        return time.monotonic() - self._seen_at


def _ask_to_stop(process: subprocess.Popen[bytes], folder: Path) -> None:
    with contextlib.suppress(OSError):  # a full disk: the signal says the same
        (folder / STOP_FILE).touch()
    # To the trainer alone: its children are its own to stop, and it needs them for a checkpoint.
    process.send_signal(signal.SIGTERM)
