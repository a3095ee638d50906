"""A job: its states, its legal moves, and what each ending means."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from pgd_core.errors import IllegalMove
from pgd_core.jobs.machine import Needs, Placement, Priority
from pgd_core.jobs.teams import DEFAULT_TEAM


class JobState(StrEnum):
    QUEUED = "queued"
    STARTING = "starting"  # claimed; its trainer is being started
    RUNNING = "running"
    PAUSED = "paused"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


MOVES: dict[JobState, frozenset[JobState]] = {
    JobState.QUEUED: frozenset({JobState.STARTING, JobState.PAUSED, JobState.CANCELLED}),
    JobState.STARTING: frozenset(
        {JobState.RUNNING, JobState.QUEUED, JobState.PAUSED, JobState.FAILED, JobState.CANCELLED}
    ),
    JobState.RUNNING: frozenset(
        {
            JobState.QUEUED,
            JobState.PAUSED,
            JobState.SUCCEEDED,
            JobState.FAILED,
            JobState.CANCELLED,
        }
    ),
    JobState.PAUSED: frozenset({JobState.QUEUED, JobState.CANCELLED}),
    JobState.SUCCEEDED: frozenset(),
    JobState.FAILED: frozenset({JobState.QUEUED}),  # by a retry that a person asks for
    JobState.CANCELLED: frozenset({JobState.QUEUED}),
}
FINAL_STATES = frozenset({JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED})
LEASED_STATES = frozenset({JobState.STARTING, JobState.RUNNING})


def check_move(old: JobState, new: JobState) -> None:
    """Raise IllegalMove unless a job may go from `old` to `new`."""
    if new not in MOVES[old]:
        allowed = ", ".join(sorted(MOVES[old])) or "nothing"
        ended = "; it has ended" if old in FINAL_STATES else ""
        raise IllegalMove(
            f"a job that is {old} cannot become {new}; it can become {allowed}{ended}"
        )


class Reason(StrEnum):
    """Why an attempt ended; alone decides the state that follows and whether to try again."""

    COMPLETED = "completed"
    CANCELLED_BY_USER = "cancelled_by_user"
    PAUSED_BY_USER = "paused_by_user"
    STOPPED = "stopped"  # the worker shuts down; a checkpoint was written
    PREEMPTED = "preempted"
    WORKER_LOST = "worker_lost"  # lease ran out, or the trainer died without a word
    WORKER_TROUBLE = "worker_trouble"  # storage or database away, or no GPU: not the job's fault
    GPU_FAULT = "gpu_fault"  # CUDA broke off: by the GPU's fault, or by the job's
    STALLED = "stalled"  # the trainer hung
    OUT_OF_MEMORY = "out_of_memory"
    DISK_FULL = "disk_full"
    BAD_DATASET = "bad_dataset"
    BAD_TEACHER = "bad_teacher"
    BAD_WEIGHTS = "bad_weights"
    INVALID_SPEC = "invalid_spec"
    DIVERGED = "diverged"
    MAX_DURATION = "max_duration"
    EXPORT_FAILED = "export_failed"
    CHILDREN_FAILED = "children_failed"  # of a study none of whose students has a result
    INTERNAL_ERROR = "internal_error"


class StopRequest(StrEnum):
    """What a person or the queue asks of a job that a worker holds; the worker obeys."""

    CANCEL = "cancel"
    PAUSE = "pause"
    PREEMPT = "preempt"  # its GPUs are needed for a job of higher class


# Of two requests the stronger one holds.
STRENGTH = {StopRequest.PREEMPT: 0, StopRequest.PAUSE: 1, StopRequest.CANCEL: 2}


@dataclass(frozen=True)
class Ending:
    """What follows an attempt that ended for a reason."""

    state: JobState  # QUEUED: try again, while attempts are left; FAILED when none is
    counts_as_attempt: bool = True  # whether it uses one of the job's attempts up
    worker_rests: bool = False  # its machine is in doubt: it is to claim nothing for a while


ENDINGS: dict[Reason, Ending] = {
    Reason.COMPLETED: Ending(JobState.SUCCEEDED),
    Reason.CANCELLED_BY_USER: Ending(JobState.CANCELLED),
    Reason.PAUSED_BY_USER: Ending(JobState.PAUSED, counts_as_attempt=False),
    Reason.STOPPED: Ending(JobState.QUEUED, counts_as_attempt=False),
    Reason.PREEMPTED: Ending(JobState.QUEUED, counts_as_attempt=False),
    Reason.WORKER_LOST: Ending(JobState.QUEUED),
    Reason.WORKER_TROUBLE: Ending(JobState.QUEUED, counts_as_attempt=False, worker_rests=True),
    Reason.GPU_FAULT: Ending(JobState.QUEUED, worker_rests=True),
    Reason.STALLED: Ending(JobState.QUEUED),
    Reason.OUT_OF_MEMORY: Ending(JobState.FAILED),
    Reason.DISK_FULL: Ending(JobState.QUEUED, worker_rests=True),
    Reason.BAD_DATASET: Ending(JobState.FAILED),
    Reason.BAD_TEACHER: Ending(JobState.FAILED),
    Reason.BAD_WEIGHTS: Ending(JobState.FAILED),
    Reason.INVALID_SPEC: Ending(JobState.FAILED),
    Reason.DIVERGED: Ending(JobState.FAILED),
    Reason.MAX_DURATION: Ending(JobState.FAILED),
    Reason.EXPORT_FAILED: Ending(JobState.FAILED),
    Reason.CHILDREN_FAILED: Ending(JobState.FAILED),
    Reason.INTERNAL_ERROR: Ending(JobState.FAILED),
}


@dataclass(frozen=True)
class Job:
    """A job as stored."""

    id: str  # UUIDv7
    kind: str
    name: str
    spec: dict[str, Any]  # `JobSpec` as JSON, defaults filled in
    spec_sha256: str
    state: JobState
    reason: Reason | None  # why the last attempt ended, or the job did
    message: str  # the reason in words, for people
    pool: str
    team: str
    priority: Priority
    gpus: int  # devices of one worker that it runs on, all or none
    min_memory_mb: int  # of each
    attempt: int  # number of the running or last attempt; 0 before the first
    failures: int  # attempts used up
    max_attempts: int
    stop_requested: StopRequest | None  # of its worker
    worker: str | None  # the name of the worker that holds it
    slots: tuple[int, ...]  # the worker's devices that it holds
    gpu_s: float  # GPU time of its attempts that ended, seconds
    lease_token: str | None
    progress: dict[str, Any]  # the last `ProgressLine` of training
    result: dict[str, Any]  # metrics.json of a job that succeeded
    created_at: datetime
    started_at: datetime | None  # of its first attempt
    claimed_at: datetime | None  # of the attempt that runs
    finished_at: datetime | None
    lease_expires_at: datetime | None = None

    @property
    def cancel_requested(self) -> bool:
        """Whether its worker is to give it up for good."""
        return self.stop_requested is StopRequest.CANCEL

    @property
    def placement(self) -> Placement:
        """Where it waits, for whom, and what it needs."""
        needs = Needs(self.gpus, self.min_memory_mb)
        return Placement(self.pool, self.team, self.priority, needs)


@dataclass(frozen=True)
class Aftermath:
    """What becomes of a job when its attempt has ended."""

    state: JobState
    reason: Reason
    failures: int


def aftermath(job: Job, reason: Reason) -> Aftermath:
    """What `ENDINGS` makes of this job; IllegalMove when it cannot end so."""
    if job.state not in LEASED_STATES:
        raise IllegalMove(f"a job that is {job.state} has no attempt that could end")
    ending = ENDINGS[reason]
    failures = job.failures
    if ending.counts_as_attempt and ending.state in (JobState.QUEUED, JobState.FAILED):
        failures += 1
    state = ending.state
    if state in (JobState.QUEUED, JobState.PAUSED) and job.cancel_requested:
        state, reason = JobState.CANCELLED, Reason.CANCELLED_BY_USER
    elif state is JobState.QUEUED and job.stop_requested is StopRequest.PAUSE:
        state, reason = JobState.PAUSED, Reason.PAUSED_BY_USER
    elif state is JobState.QUEUED and failures >= job.max_attempts:
        state = JobState.FAILED
    check_move(job.state, state)
    return Aftermath(state, reason, failures)


@dataclass(frozen=True)
class Claim:
    """A worker's right to run one attempt; every write names its token."""

    job_id: str
    attempt: int
    lease_token: str


@dataclass(frozen=True)
class Event:
    """One line of a job's history."""

    sequence: int
    job_id: str
    at: datetime
    kind: str  # submitted, claimed, started, requeued, cancel_requested, succeeded, failed, …
    data: dict[str, Any] = field(default_factory=dict)  # why, and with what
    by: str = ""  # who: a worker's name, "reconciler", "scheduler", or whoever called the API


@dataclass(frozen=True)
class Artifact:
    """A file that an attempt published."""

    job_id: str
    attempt: int
    name: str
    size: int  # bytes
    sha256: str
    key: str  # where it lies in the file store
    media_type: str


class CheckState(StrEnum):
    """A registered data set or teacher: usable only when ready."""

    CHECKING = "checking"
    UNCONFIRMED = "unconfirmed"  # a teacher that was recognised, and that nobody has confirmed
    READY = "ready"
    REJECTED = "rejected"


@dataclass(frozen=True)
class Dataset:
    """A registered COCO data set."""

    id: str
    name: str
    state: CheckState
    train_annotations: str
    train_images: str
    val_annotations: str
    val_images: str
    classes: tuple[str, ...]
    sha256: str  # of annotations and pictures; "" before the check
    report: dict[str, Any]
    created_at: datetime
    team: str = DEFAULT_TEAM
    version: int = 1  # of its name in its team
    upload: str | None = None  # the archive that it came in; its parts are "" until it is unpacked
    s3: str = ""  # or the address of the prefix that it came from
    progress: dict[str, Any] = field(default_factory=dict)  # of its check while that lasts
    same_as: str | None = None  # an older one of its team with the same content


@dataclass(frozen=True)
class Teacher:
    """A registered teacher: a detector's weights as safetensors, with their declaration."""

    id: str
    name: str
    state: CheckState
    model: dict[str, Any]  # `DetectorSpec`; empty until it is declared or confirmed
    classes: tuple[str, ...]  # empty until they are declared or confirmed
    source_job: str | None
    upload: str | None
    key: str  # of the safetensors in the file store; "" before the check
    sha256: str
    message: str  # why it was rejected
    created_at: datetime
    team: str = DEFAULT_TEAM
    recognised: dict[str, Any] | None = None  # `Recognised`, by its check


@dataclass(frozen=True)
class Upload:
    """A file that a user sent."""

    id: str
    filename: str
    size: int
    sha256: str
    key: str
    created_at: datetime
    team: str = DEFAULT_TEAM
