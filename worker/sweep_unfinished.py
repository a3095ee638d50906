"""Deleting resumable uploads that were not finished in time."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

from pgd_core.files.leftovers import matching
from pgd_core.jobs.unfinished import UnfinishedStore
from worker.broom import DAY, Broom


def sweep_unfinished(data_folder: Path, uploads: UnfinishedStore) -> Broom:
    """Rows whose time is over, with their bytes, and bytes that no row names any more."""
    broom, folder = Broom(), data_folder / "unfinished"
    for upload_id in uploads.expired():
        # The row first: whoever sends more meanwhile is told that it is gone.
        if uploads.forget_expired(upload_id):
            broom.remove(folder / upload_id, "unfinished", idle=timedelta(0))
    found = {path.name: path for path in matching(folder, "*")}
    for name in sorted(found.keys() - uploads.known(found)):
        broom.remove(found[name], "unfinished_of_no_row", idle=DAY)
    return broom
