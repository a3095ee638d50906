"""What the API answers; `api.requests` holds what it takes."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any, Generic, Literal, Protocol, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, field_validator

from pgd_core.jobs.event_words import sentence_of
from pgd_core.jobs.forecast import Place, WaitReason
from pgd_core.jobs.job import CheckState, Event, Job, JobState
from pgd_core.jobs.machine import Priority
from pgd_core.jobs.recognised import Recognised
from pgd_core.jobs.run import ProgressLine

Item = TypeVar("Item")
_NEVER_S = 1e9


class View(BaseModel):
    """Built from a domain object's attributes; a client ignores fields it does not know."""

    model_config = ConfigDict(from_attributes=True)

    @classmethod
    def of(cls, stored: Any) -> Self:
        """The stored thing as the API shows it."""
        return cls.model_validate(stored)


class JobView(View):
    """A job, without what only its worker may know."""

    id: str
    kind: str
    name: str
    state: JobState
    reason: str | None = Field(description="Why the last attempt, or the job, ended.")
    message: str = Field(description="The reason in words.")
    stop_requested: Literal["cancel", "pause", "preempt"] | None = Field(
        description="What its worker was asked to stop it for."
    )
    queue_position: int | None = Field(None, description="1 is next; null when not queued.")
    waits_because: WaitReason | None = Field(None, description="Why it has not started.")
    waits_message: str = Field("", description="The same in words.")
    starts_at: datetime | None = Field(None, description="Estimated; null: it cannot be said.")
    done: float = Field(0.0, description="Share of the whole job, 0 to 1.")
    eta_s: float | None = Field(None, description="Seconds until the end, while it runs.")
    pool: str
    team: str
    priority: Literal["low", "normal", "high"]
    gpus: int = Field(description="Of one worker, all of them or none.")
    min_memory_mb: int = Field(description="Of each GPU, MiB.")
    attempt: int
    max_attempts: int
    failures: int = Field(description="Attempts used up.")
    worker: str | None
    slots: tuple[int, ...] = Field(description="The worker's devices that it holds.")
    gpu_s: float = Field(description="GPU time of its attempts that ended, seconds.")
    progress: dict[str, Any] = Field(description="The last line of progress of training.")
    result: dict[str, Any] = Field(description="Metrics and costs of a job that succeeded.")
    spec: dict[str, Any]
    spec_sha256: str
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None

    @property
    def ended(self) -> bool:
        """Whether nothing more will happen."""
        return self.state in (JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED)

    @classmethod
    def of(cls, stored: Job, place: Place | None = None) -> Self:
        """The job as the API shows it; `place` in the queue, if it waits."""
        view = cls.model_validate(stored)
        running = stored.state is JobState.RUNNING
        done = (
            1.0 if stored.state is JobState.SUCCEEDED else float(stored.progress.get("done", 0.0))
        )
        eta_s = stored.progress.get("eta_s") if running else None
        return view.model_copy(update={"done": done, "eta_s": eta_s} | _waiting(stored, place))

    @field_validator("priority", mode="before")
    @classmethod
    def _in_a_word(cls, priority: object) -> object:
        return priority.word if isinstance(priority, Priority) else priority


def _waiting(stored: Job, place: Place | None) -> dict[str, Any]:
    if place is not None:
        return {
            "queue_position": place.position,
            "waits_because": place.reason,
            "waits_message": place.message,
            "starts_at": moment(datetime.now(UTC), place.starts_in_s),
        }
    if stored.state is JobState.PAUSED:
        return {"waits_because": WaitReason.PAUSED, "waits_message": "paused; resume it"}
    return {}


def moment(now: datetime, in_s: float | None) -> datetime | None:
    """So many seconds from now; None where nobody knows, or it is as good as never."""
    return now + timedelta(seconds=in_s) if in_s is not None and in_s < _NEVER_S else None


class DatasetView(View):
    """A registered data set and what its check found."""

    id: str
    team: str
    name: str
    version: int = Field(description="Of this name in its team; a data set never changes.")
    state: CheckState
    progress: dict[str, Any] = Field(description="Of its check: stage, done (0 to 1).")
    upload: str | None = Field(description="The archive that it came in.")
    s3: str = Field(description="Or the prefix that it came from.")
    train_annotations: str
    train_images: str
    val_annotations: str
    val_images: str
    classes: tuple[str, ...]
    sha256: str = Field(description="Of annotations and pictures: the address of its content.")
    same_as: str | None = Field(description="An older one of the team with the same content.")
    report: dict[str, Any]
    created_at: datetime


class TeacherView(View):
    """A registered teacher."""

    id: str
    team: str
    name: str
    state: CheckState
    model: dict[str, Any] = Field(description="Empty until it is declared or confirmed.")
    classes: tuple[str, ...] = Field(description="Empty until they are declared or confirmed.")
    source_job: str | None
    upload: str | None
    sha256: str
    message: str = Field(description="Why it was rejected.")
    recognised: Recognised | None = Field(
        None, description="What its check saw in an upload's tensors."
    )
    created_at: datetime


class UploadView(View):
    """A file that arrived whole."""

    id: str
    team: str
    filename: str
    size: int = Field(description="Bytes.")
    sha256: str
    created_at: datetime


class ArtifactView(View):
    """A file that a job published."""

    name: str
    attempt: int
    size: int = Field(description="Bytes.")
    sha256: str
    media_type: str


class EventView(View):
    """One line of a job's history."""

    sequence: int
    at: datetime
    kind: str
    by: str = Field(description="Who: a worker, the reconciler, the scheduler, or a caller.")
    data: dict[str, Any] = Field(description="Why, and with what.")
    sentence: str = Field(
        "", description="Who did what, and why, for people.", examples=["worker-1 started it"]
    )

    @classmethod
    def of(cls, stored: Event) -> Self:
        """The line with its sentence."""
        view = cls.model_validate(stored)
        return view.model_copy(update={"sentence": sentence_of(stored)})


class MetricLine(ProgressLine):
    """One line of progress and its place in the series."""

    sequence: int


class Page(BaseModel, Generic[Item]):
    """A page of a list; ask for what follows with `after=<next_after>`."""

    items: list[Item]
    has_more: bool
    next_after: str | None = None


class Listed(Protocol):
    """What pages hold."""

    @property
    def id(self) -> str: ...


ListedItem = TypeVar("ListedItem", bound=Listed)


def page_of(items: list[ListedItem], *, has_more: bool) -> Page[ListedItem]:
    """These, and after which to ask for more where there is more."""
    return Page(items=items, has_more=has_more, next_after=items[-1].id if has_more else None)


class Series(BaseModel, Generic[Item]):
    """A piece of a numbered series, oldest first; go on with `after=<next_after>`."""

    items: list[Item]
    has_more: bool
    next_after: int


class Health(BaseModel):
    """What was looked at, and what was found."""

    status: str
    checks: dict[str, str] = {}


class Problem(BaseModel):
    """RFC 9457: what went wrong, `application/problem+json`."""

    type: str = Field(examples=["/problems/not_ready"])
    title: str = Field(examples=["Conflict"])
    status: int = Field(examples=[409])
    detail: str = Field(examples=["data set 0192… is still being checked"])
    instance: str = Field(examples=["/v1/jobs"])
    code: str = Field(description="Stable; switch on it.", examples=["not_ready"])
    errors: list[dict[str, str]] = Field(
        description="One by one: `detail` with `pointer` into the body, or `parameter` and `in`."
    )
