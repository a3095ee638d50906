"""Deleting what attempts leave: checkpoints that nothing resumes from, files of no finished job."""

from __future__ import annotations

import shutil
from pathlib import Path

import structlog

from pgd_core.errors import NotFound
from pgd_core.jobs.job import LEASED_STATES, Job, JobState
from pgd_core.jobs.protocols import FileStore, JobStore
from pgd_core.jobs.run import OUTPUTS_FOLDER, WORK_FOLDER
from worker.attempt import published

log = structlog.get_logger()


def sweep(attempts: Path, jobs: JobStore, files: FileStore) -> None:
    """What killed workers left, and those that lost their lease."""
    left = {
        folder.parent.parent.name
        for name in (OUTPUTS_FOLDER, WORK_FOLDER)
        for folder in attempts.glob(f"*/*/{name}")
    }
    for job_id in sorted(left):
        try:
            tidy(jobs.get(job_id), attempts, jobs, files)
        except NotFound:  # of a database that was set back
            log.warning("attempts_of_no_job", job=job_id)


def tidy(job: Job, attempts: Path, jobs: JobStore, files: FileStore) -> None:
    """Delete what no attempt of the job writes or reads any more; logs and progress stay."""
    ended = job.attempt if job.state not in LEASED_STATES else job.attempt - 1  # the newest such
    for folder in (attempts / job.id).glob("[0-9]*"):
        attempt = int(folder.name)
        if attempt <= ended and (folder / OUTPUTS_FOLDER).is_dir():
            _delete_unregistered(job.id, attempt, jobs, files)
            shutil.rmtree(folder / OUTPUTS_FOLDER, ignore_errors=True)
        if job.state in (JobState.SUCCEEDED, JobState.CANCELLED):
            shutil.rmtree(folder / WORK_FOLDER, ignore_errors=True)


def _delete_unregistered(job_id: str, attempt: int, jobs: JobStore, files: FileStore) -> None:
    """Files of an attempt that published them, and then could not finish."""
    registered = {artifact.key for artifact in jobs.artifacts(job_id)}
    for key in files.keys(published(job_id, attempt)):
        if key not in registered:
            files.delete(key)
            log.info("unregistered_file_deleted", job=job_id, key=key)
