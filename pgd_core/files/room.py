"""The disk's low-water mark: with less than that free, nothing new is begun."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from pathlib import Path

_MIB = 2**20


def lack_of_room(
    folders: Iterable[Path],  # one that is not there yet is on its nearest parent's disk
    min_free_bytes: int,  # `PGD_MIN_FREE_BYTES`; 0: no mark
) -> str:
    """A sentence that names the first folder with too little room; "" where all have enough."""
    for folder in folders if min_free_bytes else ():
        there = next(path for path in (folder, *folder.absolute().parents) if path.exists())
        free = shutil.disk_usage(there).free
        if free < min_free_bytes:
            return (
                f"the disk of {folder} has {free // _MIB} MiB free; "
                f"{min_free_bytes // _MIB} MiB are wanted (PGD_MIN_FREE_BYTES)"
            )
    return ""
