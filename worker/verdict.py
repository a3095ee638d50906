"""What an attempt's ending means: the one place where exits and errors become reasons."""

from __future__ import annotations

import re
import signal
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from pgd_core.errors import PgdError
from pgd_core.files.full_disk import free_mib, lacks_room
from pgd_core.jobs.job import Reason
from pgd_core.jobs.run import (
    ALIVE_FILE,
    NO_ROOM_EXIT,
    OUTCOME_FILE,
    PROGRESS_FILE,
    STORAGE_FAULT_EXIT,
    Outcome,
)
from worker.supervisor import Exit, StopCause, log_end


@dataclass(frozen=True)
class Verdict:
    """Why the attempt ended."""

    reason: Reason
    message: str = ""
    result: dict[str, Any] = field(default_factory=dict)


_REASON_OF_CAUSE = {
    StopCause.CANCEL: Reason.CANCELLED_BY_USER,
    StopCause.PAUSE: Reason.PAUSED_BY_USER,
    StopCause.PREEMPT: Reason.PREEMPTED,
    StopCause.SHUTDOWN: Reason.STOPPED,
    StopCause.MAX_DURATION: Reason.MAX_DURATION,
    StopCause.STALLED: Reason.STALLED,
}

_ASKED = {
    StopCause.CANCEL: "cancelled on request",
    StopCause.PAUSE: "paused on request",
    StopCause.PREEMPT: "gave its GPUs to a job of higher class",
    StopCause.SHUTDOWN: "the worker shut down",
    StopCause.MAX_DURATION: "stopped at the longest duration that this server allows",
    StopCause.STALLED: "the trainer hung: it showed no sign of life for too long",
}

# Errors of a program, not of the machine that it runs on.
_DEFECTS = (ArithmeticError, AssertionError, AttributeError, LookupError, TypeError, ValueError)
_NEXT_TO_NO_ROOM_MIB = 1.0
_KILLED = (-signal.SIGKILL, -signal.SIGTERM)  # by a person, or for want of memory
# In torchrun's report: the process that ended first. The others it has ended itself.
_KILLED_ONE = re.compile(r"Root Cause.*Signal \d+ \((SIG\w+)\) received by PID", re.DOTALL)


def verdict_of_exit(ended: Exit, folder: Path) -> Verdict:
    """From the trainer's own word if it left one, else from how its process ended."""
    outcome = _outcome(folder)
    if outcome is not None and outcome.status == "succeeded":
        return Verdict(Reason.COMPLETED, outcome.message, outcome.result)
    if ended.cause is not None and not _failed_by_itself(outcome, ended.cause):
        said = _what_was_asked(ended.cause, outcome)
        return Verdict(_REASON_OF_CAUSE[ended.cause], f"{said}; {_what_is_left(ended)}")
    if outcome is not None:
        return Verdict(_reason(outcome), outcome.message)
    if ended.code == NO_ROOM_EXIT or free_mib(folder) < _NEXT_TO_NO_ROOM_MIB:
        left = f"{free_mib(folder):.1f} MiB free on the disk of {folder}"
        return Verdict(Reason.DISK_FULL, f"the trainer could not write how it ended: {left}")
    if ended.code == STORAGE_FAULT_EXIT:
        return Verdict(
            Reason.WORKER_TROUBLE, f"the trainer could not write how it ended: {folder} is failing"
        )
    if ended.code < 0 and (ended.code in _KILLED or _began(folder)):
        name = signal.Signals(-ended.code).name
        hint = "; the machine may be out of memory" if name == "SIGKILL" else ""
        return Verdict(Reason.WORKER_LOST, f"the trainer was ended by {name}{hint}")
    if killed := _KILLED_ONE.search(log_end(folder, lines=100)):
        return Verdict(
            Reason.WORKER_LOST, f"one of the trainer's processes was ended by {killed[1]}"
        )
    if not _began(folder):
        words = f"the trainer could not be loaded and ended with code {ended.code}; its log ends:"
        return Verdict(Reason.WORKER_TROUBLE, f"{words}\n{log_end(folder)}")
    last_words = f"the trainer ended with code {ended.code} and no outcome; its log ends:"
    return Verdict(Reason.INTERNAL_ERROR, f"{last_words}\n{log_end(folder)}")


def verdict_before_start(cause: StopCause) -> Verdict:
    """Of an attempt that was asked to stop before its trainer was started."""
    return Verdict(_REASON_OF_CAUSE[cause], f"{_ASKED[cause]}, before its trainer was started")


def verdict_of_error(error: Exception) -> Verdict:
    """Of an attempt that broke outside its trainer.

    What is not one of our errors, such as a storage or a database that went away, says nothing
    about the job: it is tried again, as often as it takes. A defect of ours may come with the job
    each time, and so uses its attempts up.
    """
    if lacks_room(error):
        return Verdict(Reason.DISK_FULL, f"the worker's disk is full: {error}")
    if isinstance(error, PgdError):
        known = error.code in set(Reason)
        return Verdict(Reason(error.code) if known else Reason.INTERNAL_ERROR, error.message)
    reason = Reason.WORKER_LOST if isinstance(error, _DEFECTS) else Reason.WORKER_TROUBLE
    return Verdict(reason, f"the worker broke: {type(error).__name__}: {error}")


def may_pass(error: Exception) -> bool:
    """Whether the same, done a little later, may succeed without anybody's help."""
    return not (isinstance(error, (PgdError, *_DEFECTS)) or lacks_room(error))


def _began(folder: Path) -> bool:
    """Whether the trainer got as far as its job."""
    return any((folder / file).exists() for file in (PROGRESS_FILE, ALIVE_FILE, OUTCOME_FILE))


def _outcome(folder: Path) -> Outcome | None:
    try:
        return Outcome.model_validate_json((folder / OUTCOME_FILE).read_bytes())
    except (FileNotFoundError, ValidationError):
        return None


def _failed_by_itself(outcome: Outcome | None, cause: StopCause) -> bool:
    """A failure while stopping is told; but whoever cancelled a job has what they wanted."""
    return outcome is not None and outcome.status == "failed" and cause is not StopCause.CANCEL


def _what_was_asked(cause: StopCause, outcome: Outcome | None) -> str:
    if outcome is None:
        return f"{_ASKED[cause]}; the trainer ended without a last checkpoint"
    return _ASKED[cause]


def _what_is_left(ended: Exit) -> str:
    if not ended.left:
        return "none of its processes is left"
    pids = ", ".join(map(str, ended.left))
    return f"its processes {pids} survive SIGKILL and may hold memory: look at the machine"


def _reason(outcome: Outcome) -> Reason:
    if outcome.status == "stopped":
        return Reason.STOPPED
    try:
        return Reason(outcome.reason)
    except ValueError:
        return Reason.INTERNAL_ERROR
