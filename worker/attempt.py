"""An attempt's folder: what goes in before the trainer starts, and what is published after."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Literal

import structlog
from pydantic import ValidationError

from pgd_core.errors import DatasetUnusable, InvalidSpec, NotFound, TeacherUnusable
from pgd_core.jobs.job import Artifact, CheckState, Claim, Job
from pgd_core.jobs.protocols import FileStore, LibraryStore
from pgd_core.jobs.run import (
    OUTPUTS_FOLDER,
    RUN_FILE,
    DatasetFiles,
    RunSpec,
    TeacherFile,
)
from pgd_core.jobs.spec import JobSpec, StudyJob, TrainJob, job_spec_adapter

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,199}")
_MEDIA_TYPES = {
    ".csv": "text/csv",
    ".jpg": "image/jpeg",
    ".json": "application/json",
    ".jsonl": "application/x-ndjson",
    ".log": "text/plain",
    ".md": "text/markdown",
    ".png": "image/png",
    ".py": "text/x-python",
    ".txt": "text/plain",
}

log = structlog.get_logger()


def attempt_folder(attempts: Path, job_id: str, attempt: int) -> Path:
    """Where an attempt's trainer reads and writes."""
    return attempts / job_id / str(attempt)


def published(job_id: str, attempt: int) -> str:
    """The file store's folder of what an attempt publishes."""
    return f"jobs/{job_id}/{attempt}"


def prepare(
    job: Job,
    attempts: Path,
    library: LibraryStore,
    files: FileStore,
    *,
    device: Literal["auto", "cpu", "cuda"],
    weights_folder: Path | None,
) -> Path:
    """A fresh folder with its run.json; DatasetUnusable or TeacherUnusable when there is none."""
    spec = _spec(job)
    assert not isinstance(spec, StudyJob), "no worker claims a study"
    earlier = [attempt_folder(attempts, job.id, n) for n in range(job.attempt - 1, 0, -1)]
    run = RunSpec(
        job=spec,
        dataset=_dataset(spec.dataset, library),
        teacher=None if isinstance(spec, TrainJob) else _teacher(spec.teacher, library, files),
        weights_folder=weights_folder,
        earlier_attempts=tuple(folder for folder in earlier if folder.is_dir()),
        device=device,
    )
    folder = attempt_folder(attempts, job.id, job.attempt)
    if folder.exists():  # of a database that was set back: its numbers come again
        shutil.rmtree(folder)
    folder.mkdir(parents=True)
    (folder / RUN_FILE).write_text(run.model_dump_json(indent=2), encoding="utf-8")
    return folder


def publish(folder: Path, claim: Claim, files: FileStore) -> list[Artifact]:
    """Move an attempt's outputs into the file store."""
    return publish_folder(folder / OUTPUTS_FOLDER, claim, files)


def publish_folder(outputs: Path, claim: Claim, files: FileStore) -> list[Artifact]:
    """Move the folder's files into the file store; a key of its own for each attempt."""
    found = sorted(outputs.iterdir()) if outputs.is_dir() else []
    artifacts = []
    for path in found:
        if path.is_symlink() or not path.is_file() or not _NAME.fullmatch(path.name):
            log.warning("output_not_published", name=path.name)
            continue
        key = f"{published(claim.job_id, claim.attempt)}/{path.name}"
        size, sha256 = files.put(key, path)
        media_type = _MEDIA_TYPES.get(path.suffix.lower(), "application/octet-stream")
        artifacts.append(
            Artifact(claim.job_id, claim.attempt, path.name, size, sha256, key, media_type)
        )
    return artifacts


def _spec(job: Job) -> JobSpec:
    try:
        return job_spec_adapter.validate_python(job.spec)
    except ValidationError as error:
        raise InvalidSpec(f"this version does not understand the spec: {error}") from error


def _dataset(dataset_id: str, library: LibraryStore) -> DatasetFiles:
    try:
        dataset = library.dataset(dataset_id)
    except NotFound as error:
        raise DatasetUnusable(error.message) from error
    if dataset.state is not CheckState.READY:
        raise DatasetUnusable(f"data set {dataset_id} is not ready: it is {dataset.state}")
    return DatasetFiles(
        train_annotations=Path(dataset.train_annotations),
        train_images=Path(dataset.train_images),
        val_annotations=Path(dataset.val_annotations),
        val_images=Path(dataset.val_images),
        classes=dataset.classes,
        sha256=dataset.sha256,
    )


def _teacher(teacher_id: str, library: LibraryStore, files: FileStore) -> TeacherFile:
    try:
        teacher = library.teacher(teacher_id)
        if teacher.state is not CheckState.READY:
            raise TeacherUnusable(f"teacher {teacher_id} is not ready: it is {teacher.state}")
        return TeacherFile.model_validate(
            {
                "weights": files.path(teacher.key),
                "sha256": teacher.sha256,
                "model": teacher.model,
                "classes": teacher.classes,
            }
        )
    except NotFound as error:
        raise TeacherUnusable(error.message) from error
