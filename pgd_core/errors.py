"""Every error this project raises on purpose.

    PgdError
    ├── BadRequest          the caller can mend it
    │   ├── InvalidSpec         a field is unknown, impossible, or does not fit another
    │   ├── NotFound            no such job, teacher, data set, upload or artifact
    │   ├── Unauthenticated     no API key, or one that is unknown, expired or revoked
    │   ├── Forbidden           a path outside the allowed roots, or more than the key allows
    │   └── PictureUnusable     it cannot be read as a picture, or is too large
    ├── Conflict            the thing is not in a state that allows this
    │   ├── IllegalMove         a job cannot go from this state to that one
    │   ├── NotReady            a teacher or data set is still being checked, or was rejected
    │   ├── InUse               jobs that have not ended need it
    │   ├── QuotaExceeded       the team has as many jobs or GPUs as it may
    │   └── LeaseLost           another worker owns the job now; stop
    ├── PredictionFailed    a detector gave no answer: too large, not installed
    │   └── PredictionTimedOut  it takes too long
    └── RunFailed           an attempt ended; `reason` decides what follows
        ├── DatasetUnusable     bad_dataset
        ├── TeacherUnusable     bad_teacher
        ├── WeightsUnusable     bad_weights
        ├── TrainingDiverged    diverged
        ├── OutOfMemory         out_of_memory
        ├── DiskFull            disk_full: with room again the run can go on
        ├── MachineUnusable     worker_trouble: the machine cannot work, whatever the job
        ├── GpuFault            gpu_fault: CUDA broke off, which may be the GPU's fault or the job's
        ├── ProcessLost         worker_lost: one of the run's processes was killed
        ├── ExportFailed        export_failed
        └── StoppedBySignal     stopped: a checkpoint was written, the run can go on later

Beside the tree stands StorageUnavailable: like a full disk or a database that went away, it says
nothing about the request or the job, and the same again may succeed.

A message names the thing, its value and the way out. None of these knows HTTP or Celery.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True)
class FieldProblem:
    """One thing wrong with one field."""

    pointer: str  # JSON pointer into the request or the spec, such as "/student/width"
    message: str


class PgdError(Exception):
    """Root of the tree."""

    code = "error"

    def __init__(self, message: str, problems: tuple[FieldProblem, ...] = ()) -> None:
        super().__init__(message)
        self.message = message
        self.problems = problems


class BadRequest(PgdError):
    """The caller can mend it."""

    code = "bad_request"


class InvalidSpec(BadRequest):
    """A field is unknown, impossible, or does not fit another."""

    code = "invalid_spec"


class NotFound(BadRequest):
    """No such thing."""

    code = "not_found"


class Unauthenticated(BadRequest):
    """The API key is missing, unknown, expired or revoked."""

    code = "unauthenticated"


class Forbidden(BadRequest):
    """More than this server, or this API key, allows."""

    code = "forbidden"


class PictureUnusable(BadRequest):
    """It cannot be read as a picture, or is larger than is allowed."""

    code = "bad_picture"


class Conflict(PgdError):
    """The thing is not in a state that allows this."""

    code = "conflict"


class IllegalMove(Conflict):
    """A job cannot go from its state to the one asked for."""

    code = "illegal_move"


class NotReady(Conflict):
    """A teacher or data set is still being checked, or was rejected."""

    code = "not_ready"


class QuotaExceeded(Conflict):
    """The team has as many jobs or GPUs as it may."""

    code = "quota_exceeded"


class InUse(Conflict):
    """Jobs that have not ended need the thing."""

    code = "in_use"


class LeaseLost(Conflict):
    """Another worker owns the job now; the caller must stop."""

    code = "lease_lost"


class PredictionFailed(PgdError):
    """A detector gave no answer: it takes too long or too much memory, or cannot be run here."""

    code = "prediction_failed"


class PredictionTimedOut(PredictionFailed):
    """A detector took longer over a picture than is allowed."""

    code = "prediction_timed_out"


class RunFailed(PgdError):
    """An attempt ended; `code` is the reason that decides what follows (`jobs.job.Reason`)."""

    code = "internal_error"


class DatasetUnusable(RunFailed):
    """The data set cannot be trained on."""

    code = "bad_dataset"


class TeacherUnusable(RunFailed):
    """The teacher's checkpoint does not fit its declaration."""

    code = "bad_teacher"


class WeightsUnusable(RunFailed):
    """A backbone's weights cannot be had or do not fit."""

    code = "bad_weights"


class TrainingDiverged(RunFailed):
    """A loss became NaN or infinite."""

    code = "diverged"


class OutOfMemory(RunFailed):
    """The device's memory does not hold this batch."""

    code = "out_of_memory"


class DiskFull(RunFailed):
    """There is no room for what an attempt has to write."""

    code = "disk_full"


class MachineUnusable(RunFailed):
    """The machine cannot work, whatever the job: no GPU where there was one, or a broken one."""

    code = "worker_trouble"


class GpuFault(RunFailed):
    """CUDA broke off, by a fault of the GPU or of what the job does on it."""

    code = "gpu_fault"


class ProcessLost(RunFailed):
    """A process that the run is made of was killed: a loader's, or one of several trainers."""

    code = "worker_lost"


class ExportFailed(RunFailed):
    """A detector cannot be written in the other format, or does not find the same there."""

    code = "export_failed"


class StoppedBySignal(RunFailed):
    """Asked to stop; a checkpoint was written."""

    code = "stopped"


class StorageUnavailable(OSError):
    """The file store does not answer as it should; the same again may succeed."""


def with_origins(error: BaseException) -> Iterator[BaseException]:
    """The error, the one that it arose from, and so on."""
    seen: set[int] = set()
    origin: BaseException | None = error
    while origin is not None and id(origin) not in seen:
        seen.add(id(origin))
        yield origin
        origin = origin.__cause__ or origin.__context__
