"""Deleting from the file store: files that no row names, and uploads that have had their time."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from pgd_core.jobs.job import LEASED_STATES
from pgd_core.jobs.protocols import FileStore, HousekeepingStore, StoredFile
from worker.broom import DAY, HOUR, Broom, is_another_database

# A key is one of these folders, the id of the job, teacher, data set or upload that owns it, and
# its rest.
_FOLDERS = ("jobs", "teachers", "datasets", "uploads")


def sweep_files(
    files: FileStore, rows: HousekeepingStore, uploads_kept: timedelta, broom: Broom
) -> None:
    """What a row names (artifacts, teachers' weights, contact sheets) stays, however old."""
    freed = files.forget_unfinished(DAY)
    if freed:
        broom.count("unfinished", "", freed)
    found = [file for folder in _FOLDERS for file in files.walk(folder)]
    # Asked after the walk: what is registered meanwhile is known.
    named = rows.named_keys({_owner(file) for file in found})
    _delete_orphans([file for file in found if file.key not in named], found, files, rows, broom)
    _delete_spent([file for file in found if file.key in named], files, rows, uploads_kept, broom)


def _delete_orphans(
    unnamed: list[StoredFile],
    found: list[StoredFile],
    files: FileStore,
    rows: HousekeepingStore,
    broom: Broom,
) -> None:
    """Files of a process that was killed before it registered them, or of rows that are gone."""
    owners = {_owner(file) for file in found}
    known = rows.owners(owners)
    if is_another_database(len(known), len(owners) - len(known)):
        return
    jobs = rows.jobs({_owner(file) for file in unnamed})
    for file in unnamed:
        job = jobs.get(_owner(file))
        publishing = job is not None and job.state in LEASED_STATES
        if not publishing and _age(file) > DAY:
            broom.remove_stored(file, "orphan", files)


def _delete_spent(
    named: list[StoredFile],
    files: FileStore,
    rows: HousekeepingStore,
    kept: timedelta,
    broom: Broom,
) -> None:
    """Uploads, used or not, whose time is over; what was made of one has files of its own."""
    uploads = {_owner(file): file for file in named if file.key.startswith("uploads/")}
    for upload_id in sorted(rows.spent_uploads(uploads, kept)):
        if _age(uploads[upload_id]) > HOUR:
            broom.remove_stored(uploads[upload_id], "upload", files)


def _owner(file: StoredFile) -> str:
    return file.key.split("/")[1]


def _age(file: StoredFile) -> timedelta:
    return datetime.now(UTC) - file.put_at
