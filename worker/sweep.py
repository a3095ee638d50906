"""Deleting what attempts leave: checkpoints that nothing resumes from, logs that nobody reads.

An attempt's outputs go once it has ended, and its checkpoints once its job can need them no more:
at once when the job succeeded or was cancelled, after a while when it failed, so that it can be
tried again. Much later all that is left of the attempt goes; events, curves and artifacts stay.
"""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import structlog

from pgd_core.files.leftovers import matching
from pgd_core.jobs.job import FINAL_STATES, LEASED_STATES, Job, JobState
from pgd_core.jobs.protocols import FileStore, HousekeepingStore, JobStore
from pgd_core.jobs.run import OUTPUTS_FOLDER, WORK_FOLDER
from worker.attempt import published
from worker.broom import DAY, HOUR, Broom, is_another_database
from worker.sweep_datasets import sweep_datasets
from worker.sweep_files import sweep_files

# Below the data folder; of checks, reports and uploads whose process was killed.
_SCRATCH = ("checks/check-*", "checks/study-*", "incoming/*")

log = structlog.get_logger()


@dataclass(frozen=True)
class Retention:
    """How long what is of no use to the service is kept for people."""

    failed: timedelta  # checkpoints of a failed job
    logs: timedelta  # an ended job's logs and progress files
    uploads: timedelta  # a file that was sent, to be registered as a teacher


def sweep(
    data_folder: Path, jobs: JobStore, files: FileStore, rows: HousekeepingStore, kept: Retention
) -> Broom:
    """Everything that is to go, here and in the file store; says how much that was."""
    broom = Broom()
    sweep_folders(data_folder, jobs, files, rows, kept, broom)
    sweep_datasets(data_folder, rows, broom)
    sweep_files(files, rows, kept.uploads, broom)
    log.info("swept", deleted=broom.deleted, freed_bytes=broom.freed_bytes)
    return broom


def sweep_folders(
    data_folder: Path,
    jobs: JobStore,
    files: FileStore,
    rows: HousekeepingStore,
    kept: Retention,
    broom: Broom,
) -> None:
    """What is to go of this machine's data folder: attempts and scratch, not the file store."""
    found = {path.name: path for path in matching(data_folder / "attempts", "*") if path.is_dir()}
    known, now = rows.jobs(found), rows.now()
    for job in known.values():
        if job.state not in LEASED_STATES:
            _retire(job, found[job.id], now, kept, jobs, broom)
            tidy(job, data_folder / "attempts", jobs, files, broom=broom, idle=HOUR)
    strange = sorted(found.keys() - known.keys())
    if not is_another_database(len(known), len(strange)):
        for job_id in strange:
            broom.remove(found[job_id], "attempts_of_no_job", idle=DAY)
    for pattern in _SCRATCH:
        for path in matching(data_folder, pattern):
            broom.remove(path, "scratch", idle=DAY)


def tidy(
    job: Job,
    attempts: Path,
    jobs: JobStore,
    files: FileStore,
    *,
    broom: Broom | None = None,
    idle: timedelta = timedelta(0),
) -> None:
    """Delete what no attempt of the job writes or reads any more; logs and progress stay."""
    broom = broom or Broom()
    ended = job.attempt if job.state not in LEASED_STATES else job.attempt - 1  # the newest such
    for folder in matching(attempts / job.id, "[0-9]*"):
        attempt = int(folder.name)
        # Publishing moves files out of the folder: where it is idle, what came out of it is too.
        if attempt <= ended and broom.remove(folder / OUTPUTS_FOLDER, "outputs", idle=idle):
            _delete_unregistered(job.id, attempt, jobs, files, broom)
        if attempt <= ended and job.state in (JobState.SUCCEEDED, JobState.CANCELLED):
            _remove_of_ended(job, folder / WORK_FOLDER, "checkpoints", jobs, broom, idle)


def _delete_unregistered(
    job_id: str, attempt: int, jobs: JobStore, files: FileStore, broom: Broom
) -> None:
    """Files of an attempt that published them, and then could not finish."""
    registered = {artifact.key for artifact in jobs.artifacts(job_id)}
    for file in files.walk(published(job_id, attempt)):
        if file.key not in registered:
            broom.remove_stored(file, "unregistered", files)


def _remove_of_ended(
    job: Job, path: Path, what: str, jobs: JobStore, broom: Broom, idle: timedelta = HOUR
) -> None:
    """Delete it unless the job, which had ended, was tried again since it was looked at."""
    if not os.path.lexists(path):  # of most: no look at the database for each
        return
    now = jobs.get(job.id)
    if (now.state, now.attempt, now.finished_at) == (job.state, job.attempt, job.finished_at):
        broom.remove(path, what, idle=idle)


def _retire(
    job: Job, folder: Path, now: datetime, kept: Retention, jobs: JobStore, broom: Broom
) -> None:
    """What a job keeps for a while after its end, once that is over."""
    if job.state not in FINAL_STATES or job.finished_at is None:
        return
    ended_for = now - job.finished_at
    for attempt in matching(folder, "[0-9]*"):
        if ended_for > max(kept.failed, kept.logs):
            _remove_of_ended(job, attempt, "attempt", jobs, broom)
        elif ended_for > kept.failed:
            _remove_of_ended(job, attempt / WORK_FOLDER, "checkpoints", jobs, broom)
    if ended_for > kept.logs:
        with contextlib.suppress(OSError):  # something is left in it, or it is gone already
            folder.rmdir()
