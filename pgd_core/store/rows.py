"""Rows of the tables as the objects of `jobs`, and what JSON columns may hold."""

from __future__ import annotations

import math
from dataclasses import fields
from typing import TYPE_CHECKING, Any

from pgd_core.jobs.job import (
    Artifact,
    CheckState,
    Event,
    Job,
    JobState,
    Reason,
    StopRequest,
    Teacher,
    Upload,
)
from pgd_core.jobs.machine import Device, Priority, Worker, WorkerState
from pgd_core.jobs.run import ProgressLine
from pgd_core.jobs.teams import Team

if TYPE_CHECKING:
    from sqlalchemy import Row

    from pgd_core.store.tables import (
        ArtifactRow,
        EventRow,
        JobRow,
        TeacherRow,
        TeamRow,
        UploadRow,
        WorkerRow,
    )


def job_of(row: JobRow | Row[Any]) -> Job:
    values = values_of(row, Job)
    values["state"] = JobState(row.state)
    values["reason"] = Reason(row.reason) if row.reason else None
    values["priority"] = Priority(row.priority)
    values["stop_requested"] = StopRequest(row.stop_requested) if row.stop_requested else None
    values["slots"] = tuple(row.slots)
    return Job(**values)


def worker_of(row: WorkerRow) -> Worker:
    values = values_of(row, Worker)
    values["devices"] = tuple(Device(**device) for device in row.devices)
    values["unusable"] = tuple(row.unusable)
    return Worker(**values | {"state": WorkerState(row.state)})


def team_of(row: TeamRow) -> Team:
    return Team(**values_of(row, Team))


def event_of(row: EventRow) -> Event:
    return Event(**values_of(row, Event))


def artifact_of(row: ArtifactRow) -> Artifact:
    return Artifact(**values_of(row, Artifact))


def teacher_of(row: TeacherRow) -> Teacher:
    values = values_of(row, Teacher)
    return Teacher(**values | {"state": CheckState(row.state), "classes": tuple(row.classes)})


def upload_of(row: UploadRow) -> Upload:
    return Upload(**values_of(row, Upload))


def line_as_json(line: ProgressLine) -> dict[str, Any]:
    """A line of progress without what it leaves at its default."""
    stored = storable(line.model_dump(exclude_defaults=True))
    assert isinstance(stored, dict)
    return stored | {"type": line.type, "at": line.at}


def storable(value: Any) -> Any:
    """The value without NaN, infinity, NUL and half characters, which JSON or PostgreSQL refuse.

    A number that is not finite leaves its mapping (a diverging loss is a gap in its curve), and
    becomes null in a list.
    """
    if isinstance(value, dict):
        return {
            str(name): storable(item) for name, item in value.items() if not _is_not_finite(item)
        }
    if isinstance(value, list | tuple):
        return [storable(item) for item in value]
    if isinstance(value, str):
        return value.replace("\x00", "").encode(errors="replace").decode()
    return None if _is_not_finite(value) else value


def _is_not_finite(value: Any) -> bool:
    return isinstance(value, float) and not math.isfinite(value)


def values_of(row: Any, kind: type[Any]) -> dict[str, Any]:
    """The columns that the domain's object has."""
    return {field.name: getattr(row, field.name) for field in fields(kind)}
