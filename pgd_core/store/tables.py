"""The tables. The database is the truth about jobs; whatever Redis holds may be lost."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    Double,
    ForeignKey,
    Index,
    MetaData,
    String,
    Text,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from pgd_core.jobs.teams import DEFAULT_TEAM
from pgd_core.store.times import UtcTime

_ID = String(36)
_WORD = String(32)
_SHA256 = String(64)


class Base(DeclarativeBase):
    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map = {  # noqa: RUF012  SQLAlchemy's declaration
        dict[str, Any]: JSON,
        list[str]: JSON,
        list[int]: JSON,
        list[dict[str, Any]]: JSON,
        float: Double,
        datetime: UtcTime,
    }


class JobRow(Base):
    """A job; see `jobs.job.Job` for the fields."""

    __tablename__ = "jobs"
    __table_args__ = (
        Index("ix_jobs_lease", "state", "lease_expires_at"),
        Index("ix_jobs_finished", "pool", "state", "finished_at"),
        Index("ix_jobs_spec_sha256", "spec_sha256"),
        Index("ix_jobs_team", "team", "id"),
    )

    id: Mapped[str] = mapped_column(_ID, primary_key=True)
    kind: Mapped[str] = mapped_column(_WORD)
    name: Mapped[str] = mapped_column(String(200))
    spec: Mapped[dict[str, Any]]
    spec_sha256: Mapped[str] = mapped_column(_SHA256)
    state: Mapped[str] = mapped_column(_WORD)
    reason: Mapped[str | None] = mapped_column(_WORD)
    message: Mapped[str] = mapped_column(Text, default="")
    pool: Mapped[str] = mapped_column(String(64))
    team: Mapped[str] = mapped_column(String(64))
    priority: Mapped[int]
    gpus: Mapped[int] = mapped_column(default=1)
    min_memory_mb: Mapped[int] = mapped_column(default=0)
    attempt: Mapped[int] = mapped_column(default=0)
    failures: Mapped[int] = mapped_column(default=0)
    max_attempts: Mapped[int]
    stop_requested: Mapped[str | None] = mapped_column(_WORD)
    worker: Mapped[str | None] = mapped_column(String(200))
    slots: Mapped[list[int]] = mapped_column(default=list)
    gpu_s: Mapped[float] = mapped_column(default=0.0)
    lease_token: Mapped[str | None] = mapped_column(String(64))
    lease_expires_at: Mapped[datetime | None]
    hinted_at: Mapped[datetime | None]  # when workers were last told of it; None: never
    progress: Mapped[dict[str, Any]] = mapped_column(default=dict)
    result: Mapped[dict[str, Any]] = mapped_column(default=dict)
    # The caller's own, hashed with the caller: two callers may use the same.
    idempotency_key: Mapped[str | None] = mapped_column(String(200), unique=True)
    request_sha256: Mapped[str | None] = mapped_column(_SHA256)  # what was asked for with it
    created_at: Mapped[datetime]
    started_at: Mapped[datetime | None]
    claimed_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]


# A team's next job is the first of its part of this index; the last columns are there so that jobs
# that do not fit are passed by without a look at their rows.
Index(
    "ix_jobs_queue",
    JobRow.pool,
    JobRow.state,
    JobRow.team,
    JobRow.priority.desc(),
    JobRow.id,
    JobRow.gpus,
    JobRow.min_memory_mb,
    JobRow.kind,
)


class TeamRow(Base):
    """A team; see `jobs.teams.Team`."""

    __tablename__ = "teams"

    name: Mapped[str] = mapped_column(String(64), primary_key=True)
    weight: Mapped[float]
    max_running_gpus: Mapped[int | None]
    max_queued_jobs: Mapped[int | None]
    used_gpu_s: Mapped[float] = mapped_column(default=0.0)  # decayed until used_at
    used_at: Mapped[datetime]
    created_at: Mapped[datetime]


class WorkerRow(Base):
    """A worker; see `jobs.machine.Worker`."""

    __tablename__ = "workers"
    __table_args__ = (Index("ix_workers_pool", "pool", "state"),)

    name: Mapped[str] = mapped_column(String(200), primary_key=True)
    host: Mapped[str] = mapped_column(String(255))
    pid: Mapped[int]
    pool: Mapped[str] = mapped_column(String(64))
    devices: Mapped[list[dict[str, Any]]]
    versions: Mapped[dict[str, Any]]
    state: Mapped[str] = mapped_column(_WORD)
    trouble: Mapped[str] = mapped_column(Text, default="")
    unusable: Mapped[list[int]] = mapped_column(default=list)  # slots that nothing is put on
    drain: Mapped[bool] = mapped_column(default=False)  # asked to, whatever its state became
    started_at: Mapped[datetime]
    seen_at: Mapped[datetime]


class DataFolderRow(Base):
    """The mark of the data folder that all processes share: one row."""

    __tablename__ = "data_folder"

    one: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    mark: Mapped[str] = mapped_column(_SHA256)


class EventRow(Base):
    """A line of a job's history; numbered from 1 within the job."""

    __tablename__ = "job_events"

    job_id: Mapped[str] = mapped_column(_ID, ForeignKey("jobs.id"), primary_key=True)
    sequence: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    at: Mapped[datetime]
    kind: Mapped[str] = mapped_column(_WORD)
    by: Mapped[str] = mapped_column(String(200), default="")
    data: Mapped[dict[str, Any]]
    dispatched: Mapped[bool] = mapped_column(default=False)  # webhooks' deliveries are made of it


_UNDISPATCHED = EventRow.dispatched.is_(False)
Index(
    "ix_job_events_undispatched",
    EventRow.at,
    sqlite_where=_UNDISPATCHED,
    postgresql_where=_UNDISPATCHED,
)


class ProgressRow(Base):
    """A `ProgressLine`; numbered from 1 within the job, over all its attempts."""

    __tablename__ = "job_progress"
    __table_args__ = (Index("ix_job_progress_type", "job_id", "type", "sequence"),)

    job_id: Mapped[str] = mapped_column(_ID, ForeignKey("jobs.id"), primary_key=True)
    sequence: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    attempt: Mapped[int]
    type: Mapped[str] = mapped_column(_WORD)
    line: Mapped[dict[str, Any]]


class ArtifactRow(Base):
    """A file that an attempt published."""

    __tablename__ = "artifacts"

    job_id: Mapped[str] = mapped_column(_ID, ForeignKey("jobs.id"), primary_key=True)
    attempt: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    name: Mapped[str] = mapped_column(String(255), primary_key=True)
    size: Mapped[int] = mapped_column(BigInteger)
    sha256: Mapped[str] = mapped_column(_SHA256)
    key: Mapped[str] = mapped_column(String(500))
    media_type: Mapped[str] = mapped_column(String(100))


class StudyChildRow(Base):
    """A job that a study needs; several studies may need the same."""

    __tablename__ = "study_children"
    __table_args__ = (Index("ix_study_children_job_id", "job_id"),)

    study_id: Mapped[str] = mapped_column(_ID, ForeignKey("jobs.id"), primary_key=True)
    key: Mapped[str] = mapped_column(String(100), primary_key=True)  # the study's word for it
    job_id: Mapped[str] = mapped_column(_ID, ForeignKey("jobs.id"))


class UploadRow(Base):
    """A file that a user sent."""

    __tablename__ = "uploads"

    id: Mapped[str] = mapped_column(_ID, primary_key=True)
    filename: Mapped[str] = mapped_column(String(255))
    size: Mapped[int] = mapped_column(BigInteger)
    sha256: Mapped[str] = mapped_column(_SHA256)
    key: Mapped[str] = mapped_column(String(500))
    created_at: Mapped[datetime]
    team: Mapped[str] = mapped_column(String(64), server_default=DEFAULT_TEAM)


class TeacherRow(Base):
    """A registered teacher."""

    __tablename__ = "teachers"
    __table_args__ = (Index("ix_teachers_state", "state"),)

    id: Mapped[str] = mapped_column(_ID, primary_key=True)
    name: Mapped[str] = mapped_column(String(200))
    state: Mapped[str] = mapped_column(_WORD)
    model: Mapped[dict[str, Any]]
    classes: Mapped[list[str]]
    source_job: Mapped[str | None] = mapped_column(_ID, ForeignKey("jobs.id"))
    upload: Mapped[str | None] = mapped_column(_ID, ForeignKey("uploads.id"))
    key: Mapped[str] = mapped_column(String(500), default="")
    sha256: Mapped[str] = mapped_column(_SHA256, default="")
    message: Mapped[str] = mapped_column(Text, default="")
    created_at: Mapped[datetime]
    team: Mapped[str] = mapped_column(String(64), server_default=DEFAULT_TEAM)
    recognised: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))
