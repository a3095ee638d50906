"""Deleting with a record: what was it, where did it lie, how many bytes came free."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import structlog

from pgd_core.files.leftovers import delete_idle
from pgd_core.jobs.protocols import FileStore, StoredFile

HOUR = timedelta(hours=1)  # a sweep touches nothing younger
DAY = timedelta(days=1)  # what nobody claims is given this long to be claimed

log = structlog.get_logger()


class Broom:
    """Deletes, logs each deletion and adds them up; what cannot be deleted holds up nothing."""

    def __init__(self) -> None:
        self.deleted, self.freed_bytes = 0, 0

    def remove(self, path: Path, what: str, *, idle: timedelta = HOUR) -> bool:
        """Whether it was deleted: it was there, and nothing in it changed for so long."""
        try:
            freed = delete_idle(path, idle)
        except OSError as error:
            log.warning("not_deleted", what=what, path=str(path), error=str(error))
            return False
        if freed is None:
            return False
        self.count(what, str(path), freed)
        return True

    def remove_stored(self, file: StoredFile, what: str, files: FileStore) -> None:
        """Delete a file of the file store, whatever its age."""
        try:
            files.delete(file.key)
        except OSError as error:
            log.warning("not_deleted", what=what, path=file.key, error=str(error))
            return
        self.count(what, file.key, file.size)

    def count(self, what: str, path: str, freed_bytes: int) -> None:
        self.deleted += 1
        self.freed_bytes += freed_bytes
        log.info("deleted", what=what, path=path, bytes=freed_bytes)


def is_another_database(known: int, unknown: int) -> bool:
    """Whether the database knows too few of those that files belong to, to be theirs.

    Then nothing may be deleted on its word: it is new, or was set back, or the folder is another
    service's. Told in the log, as somebody has to see to it.
    """
    if unknown <= known:
        return False
    log.error(
        "files_of_another_database",
        known=known,
        unknown=unknown,
        message="most files belong to nothing that this database knows; none of them is deleted: "
        "check PGD_DATABASE_URL and PGD_DATA_FOLDER",
    )
    return True
