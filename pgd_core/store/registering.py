"""What a job's success says of models, in the transaction of that success.

The model and the job's final state are written together, so that neither is ever there without the
other: no process can die in between, and nothing has to be put right later.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from sqlalchemy import func, select, update
from sqlalchemy.orm import Session
from uuid_utils import uuid7

from pgd_core.jobs.job import Artifact, Job, JobState
from pgd_core.jobs.models import COMPLETE_ONNX, described, weights_of
from pgd_core.store.dataset_tables import DatasetRow
from pgd_core.store.datasets import dataset_of
from pgd_core.store.model_tables import ModelRow
from pgd_core.store.rows import storable, teacher_of
from pgd_core.store.tables import TeacherRow, WorkerRow
from pgd_core.store.times import database_now


def note_success(
    session: Session, job: Job, worker: str | None, artifacts: Sequence[Artifact]
) -> None:
    """Register what a train or distill job made, or note an export of a model.

    The caller holds the team's row: versions of a name are counted one after another.
    """
    if job.state is not JobState.SUCCEEDED:
        return
    weights = weights_of(job, artifacts)
    if weights is not None:
        _register(session, job, worker, weights)
    made_from = job.spec.get("job") if job.kind == "export" else None
    if made_from and any(artifact.name == COMPLETE_ONNX for artifact in artifacts):
        exported = update(ModelRow).where(ModelRow.job_id == made_from, ModelRow.team == job.team)
        session.execute(exported.values(export_job=job.id))


def _register(session: Session, job: Job, worker: str | None, weights: Artifact) -> None:
    dataset = session.get(DatasetRow, job.spec.get("dataset", ""))
    teacher = session.get(TeacherRow, job.spec.get("teacher", ""))
    known: dict[str, Any] = storable(
        described(
            job,
            None if dataset is None else dataset_of(dataset),
            None if teacher is None else teacher_of(teacher),
            _versions(session, worker),
        )
    )
    session.add(
        ModelRow(
            **known,
            id=str(uuid7()),
            version=_next_version(session, job.team, known["name"]),
            size=weights.size,
            sha256=weights.sha256,
            created_at=database_now(),
        )
    )


def _next_version(session: Session, team: str, name: str) -> int:
    last = select(func.max(ModelRow.version)).where(ModelRow.team == team, ModelRow.name == name)
    return (session.scalar(last) or 0) + 1


def _versions(session: Session, worker: str | None) -> dict[str, Any]:
    """Of the software on the machine that ran it; the worker tells it when it announces itself."""
    row = None if worker is None else session.get(WorkerRow, worker)
    found = {} if row is None else dict(row.versions)
    with contextlib.suppress(PackageNotFoundError):
        found.setdefault("pgd", version("pgd"))  # this process's: the worker ends its jobs itself
    return found
