"""What the API takes, but for the job's spec, which is `pgd_core.jobs.spec`."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import Path as UrlPart
from pydantic import BaseModel, Field, StringConstraints, field_validator, model_validator

from pgd_core.jobs.job import JobState
from pgd_core.jobs.machine import PRIORITIES, Needs, Placement, PlacementChange
from pgd_core.jobs.spec import DetectorSpec
from pgd_core.jobs.strict import FORBIDDEN, Strict

# PostgreSQL stores no NUL, and nobody's name holds a line break.
NO_CONTROL = r"^[^\x00-\x1f\x7f]*$"
ID = r"^[A-Za-z0-9-]{1,64}$"
NAME = r"^[a-z0-9][a-z0-9-]{0,62}$"  # of a pool or a team
MOST = 2**31 - 1  # that the database's integers hold
PriorityWord = Literal["low", "normal", "high"]
Name = Annotated[str, StringConstraints(min_length=1, max_length=200, pattern=NO_CONTROL)]
ServerPath = Annotated[str, StringConstraints(min_length=1, max_length=4096, pattern=NO_CONTROL)]
PoolOrTeam = Annotated[str, StringConstraints(pattern=NAME)]
IdInUrl = Annotated[str, UrlPart(pattern=ID)]
WorkerInUrl = Annotated[str, UrlPart(min_length=1, max_length=200, pattern=NO_CONTROL)]


class QueryModel(BaseModel):
    """Parameters in an address, where numbers come as text."""

    model_config = FORBIDDEN


class PageQuery(QueryModel):
    """Which page of a list, newest first."""

    after: str | None = Field(None, pattern=ID, description="`next_after` of the page before.")
    limit: int = Field(50, ge=1, le=200)


class JobsQuery(PageQuery):
    """Which jobs."""

    state: JobState | None = None
    kind: Literal["train", "distill", "evaluate", "analyse", "export", "study"] | None = None
    team: PoolOrTeam | None = None
    pool: PoolOrTeam | None = None


class SeriesQuery(QueryModel):
    """Which piece of a numbered series, oldest first."""

    after: int = Field(0, ge=0, le=MOST, description="`next_after` of the piece before.")
    limit: int = Field(1000, ge=1, le=5000)


class MetricsQuery(SeriesQuery):
    """Which lines of progress."""

    type: Literal["train", "validation", "stage"] | None = None


class SubmitQuery(QueryModel):
    """How a job is submitted."""

    validate_only: bool = Field(False, description="Check everything, queue nothing.")
    team: str | None = Field(
        None,
        pattern=NAME,
        description="Whose share of GPU time it uses. Default: the caller's own.",
    )
    pool: str | None = Field(None, pattern=NAME, description="Default: the server's own.")
    priority: PriorityWord = Field(
        "normal", description="A higher class goes first, and may stop and requeue a lower one."
    )
    gpus: int = Field(1, ge=1, le=256, description="Of one worker, all of them or none.")
    min_memory_mb: int = Field(0, ge=0, le=MOST, description="Of each GPU, MiB.")

    def placement(self, team: str, default_pool: str) -> Placement:
        """Where the job waits, for whom, and what it needs."""
        needs = Needs(self.gpus, self.min_memory_mb)
        pool = self.pool or default_pool
        return Placement(pool, team, PRIORITIES[self.priority], needs)


class JobChange(Strict):
    """What shall be different about a job's place in the queue; what is left out stays."""

    priority: PriorityWord | None = Field(None, description="Of a running job too.")
    pool: PoolOrTeam | None = None
    team: PoolOrTeam | None = None
    gpus: int | None = Field(None, ge=1, le=256, description="Of one worker, all of them or none.")
    min_memory_mb: int | None = Field(None, ge=0, le=MOST, description="Of each GPU, MiB.")

    @field_validator("*")
    @classmethod
    def _given(cls, value: object) -> object:
        if value is None:
            raise ValueError("null is no value here; leave the field out to keep what there is")
        return value

    @model_validator(mode="after")
    def _something(self) -> JobChange:
        if not self.model_fields_set:
            raise ValueError(f"nothing to change; give one of {', '.join(JobChange.model_fields)}")
        return self

    def placement_change(self) -> PlacementChange:
        """In the domain's words."""
        priority = None if self.priority is None else PRIORITIES[self.priority]
        return PlacementChange(self.pool, self.team, priority, self.gpus, self.min_memory_mb)


class QueueQuery(QueryModel):
    """Which part of the queue."""

    pool: PoolOrTeam | None = Field(None, description="Only this one.")
    after: int = Field(0, ge=0, le=MOST, description="`next_after` of the piece before.")
    limit: int = Field(100, ge=1, le=1000, description="Waiting jobs of each pool.")


class WorkersQuery(QueryModel):
    """Which workers."""

    gone_too: bool = Field(False, description="Those that stopped, too.")


class TeamSettings(Strict):
    """A team's weight and limits, all of them: a limit that is left out is none."""

    weight: float = Field(gt=0, le=1000, description="Twice the weight, twice the GPU time.")
    max_running_gpus: int | None = Field(None, ge=0, le=MOST, description="At once.")
    max_queued_jobs: int | None = Field(None, ge=1, le=MOST, description="Waiting or paused.")


class LogsQuery(QueryModel):
    """Which log, and how much of its end."""

    attempt: int | None = Field(None, ge=1, le=10_000, description="Default: the newest.")
    tail_bytes: int = Field(64 * 1024, ge=1, le=1024 * 1024)


class UploadQuery(QueryModel):
    """What is being sent."""

    filename: str = Field("", max_length=200, pattern=NO_CONTROL, description="A label only.")
    team: str | None = Field(None, pattern=NAME, description="Whose. Default: the caller's own.")
    sha256: str | None = Field(None, pattern="^[0-9a-fA-F]{64}$", description="Checked if given.")


class TeamQuery(QueryModel):
    """Whose it shall be."""

    team: str | None = Field(None, pattern=NAME, description="Default: the caller's own.")


class TeacherSource(Strict):
    """Where a teacher's weights come from."""

    job: str | None = Field(None, pattern=ID, description="A train or distill job that ended.")
    upload: str | None = Field(None, pattern=ID, description="An upload.")

    @model_validator(mode="after")
    def _one_source(self) -> TeacherSource:
        if (self.job is None) == (self.upload is None):
            raise ValueError("give job or upload, one of the two")
        return self


class NewTeacher(Strict):
    """A teacher; what an upload is may be declared, and is recognised where it is not."""

    name: Name
    source: TeacherSource
    model: DetectorSpec | None = Field(
        None, description="With an upload, if known: what the weights are."
    )
    classes: tuple[Name, ...] | None = Field(
        None,
        min_length=1,
        max_length=10_000,
        description="With an upload, if known: in the head's order.",
    )

    @model_validator(mode="after")
    def _declared_once(self) -> NewTeacher:
        declared = [self.model is not None, self.classes is not None]
        if self.source.job is not None and any(declared):
            raise ValueError("a teacher from a job takes model and classes from the job")
        if self.classes is not None and len(set(self.classes)) != len(self.classes):
            raise ValueError("classes names one twice")
        return self
