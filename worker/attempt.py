"""An attempt's folder: what goes in before the trainer starts, and what is published after."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

import structlog
from pydantic import ValidationError

from pgd_core.errors import (
    DatasetUnusable,
    InvalidSpec,
    MachineUnusable,
    NotFound,
    NotReady,
    TeacherUnusable,
)
from pgd_core.files.shares import not_mounted
from pgd_core.jobs.graduates import graduate
from pgd_core.jobs.job import Artifact, CheckState, Claim, Job
from pgd_core.jobs.protocols import FileStore, JobStore, LibraryStore
from pgd_core.jobs.run import (
    OUTPUTS_FOLDER,
    RUN_FILE,
    DatasetFiles,
    RunSpec,
    TeacherFile,
)
from pgd_core.jobs.spec import ExportJob, InputSpec, JobSpec, StudyJob, TrainJob, job_spec_adapter

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
    jobs: JobStore,
    library: LibraryStore,
    files: FileStore,
    *,
    device: Literal["cpu", "cuda"],
    weights_folder: Path | None,
    dataset_roots: Sequence[Path] = (),
) -> Path:
    """A fresh folder with its run.json; DatasetUnusable or TeacherUnusable when there is none,
    MachineUnusable when it is this machine that lacks the data set's share."""
    spec = _spec(job)
    assert not isinstance(spec, StudyJob), "no worker claims a study"
    if isinstance(spec, ExportJob):
        spec = spec.model_copy(update={"input": _input_of_export(spec, jobs, library)})
    earlier = [attempt_folder(attempts, job.id, n) for n in range(job.attempt - 1, 0, -1)]
    run = RunSpec(
        job=spec,
        dataset=_dataset(spec.dataset, library),
        teacher=_detector(spec, jobs, library, files),
        weights_folder=weights_folder,
        earlier_attempts=tuple(folder for folder in earlier if folder.is_dir()),
        device=device,
    )
    folder = attempt_folder(attempts, job.id, job.attempt)
    if folder.exists():  # of a database that was set back: its numbers come again
        shutil.rmtree(folder)
    folder.mkdir(parents=True)
    (folder / RUN_FILE).write_text(run.model_dump_json(indent=2), encoding="utf-8")
    check_shares(folder, dataset_roots)
    return folder


def check_shares(folder: Path, dataset_roots: Sequence[Path]) -> None:
    """MachineUnusable where the root of the attempt's data set is bare on this machine."""
    data = RunSpec.model_validate_json((folder / RUN_FILE).read_bytes()).dataset
    parts = (data.train_annotations, data.train_images, data.val_annotations, data.val_images)
    if trouble := not_mounted(parts, dataset_roots):
        raise MachineUnusable(trouble)


def publish(folder: Path, claim: Claim, files: FileStore) -> Iterator[Artifact]:
    """Move an attempt's outputs into the file store; broken off, another call moves the rest."""
    return publish_folder(folder / OUTPUTS_FOLDER, claim, files)


def publish_folder(outputs: Path, claim: Claim, files: FileStore) -> Iterator[Artifact]:
    """Move the folder's files into the file store; a key of its own for each attempt."""
    found = sorted(outputs.iterdir()) if outputs.is_dir() else []
    for path in found:
        if path.is_symlink() or not path.is_file() or not _NAME.fullmatch(path.name):
            log.warning("output_not_published", name=path.name)
            continue
        key = f"{published(claim.job_id, claim.attempt)}/{path.name}"
        size, sha256 = files.put(key, path)
        media_type = _MEDIA_TYPES.get(path.suffix.lower(), "application/octet-stream")
        yield Artifact(claim.job_id, claim.attempt, path.name, size, sha256, key, media_type)


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


def _detector(
    spec: JobSpec, jobs: JobStore, library: LibraryStore, files: FileStore
) -> TeacherFile | None:
    """What the job is given beside its data: a registered teacher, or what a job made."""
    assert not isinstance(spec, StudyJob)
    if isinstance(spec, TrainJob):
        return None
    if isinstance(spec, ExportJob) and spec.job:
        return _student(spec.job, jobs, library, files)
    return _teacher(spec.teacher, library, files)


def _student(job_id: str, jobs: JobStore, library: LibraryStore, files: FileStore) -> TeacherFile:
    try:
        made = graduate(jobs.get(job_id), jobs, library)
        return TeacherFile(
            weights=files.path(made.weights.key),
            sha256=made.weights.sha256,
            model=made.model,
            classes=made.classes,
        )
    except (NotFound, NotReady) as error:
        raise TeacherUnusable(error.message) from error


def _input_of_export(spec: ExportJob, jobs: JobStore, library: LibraryStore) -> InputSpec | None:
    """How pictures came in where the detector was made, unless the job says it itself."""
    if spec.input is not None:
        return spec.input
    try:
        source = spec.job or library.teacher(spec.teacher).source_job
        return _spec(jobs.get(source)).input if source else None
    except NotFound as error:
        raise TeacherUnusable(error.message) from error


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
