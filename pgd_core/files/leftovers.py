"""Files and folders that outlived their use: how large they are, and their end."""

from __future__ import annotations

import contextlib
import glob
import os
import shutil
import stat
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path


def matching(folder: Path, pattern: str) -> list[Path]:
    """In order, what lies below the folder by such names; nothing where another deletes it
    meanwhile (`Path.glob` raises FileNotFoundError then)."""
    found = glob.glob(pattern, root_dir=folder, include_hidden=True)  # noqa: PTH207
    return [folder / name for name in sorted(found)]


def delete_idle(
    path: Path,  # a file, or a folder with all that is in it
    idle: timedelta,  # nothing in it may have changed for so long; 0: whenever it changed
) -> int | None:
    """Delete it; bytes freed, or None where it is still in use, or gone already.

    Two who delete the same do each other no harm.
    """
    found = list(_statistics(path))
    if not found:
        return None
    changed_at = max(each.st_mtime for each in found)
    if idle and changed_at > time.time() - idle.total_seconds():
        return None
    while path.is_dir() and not path.is_symlink():
        with contextlib.suppress(FileNotFoundError):  # another was faster with a part of it
            shutil.rmtree(path)
    path.unlink(missing_ok=True)
    return sum(each.st_size for each in found if stat.S_ISREG(each.st_mode))


def _statistics(path: Path) -> Iterator[os.stat_result]:
    """Of the path itself and of all below it."""
    paths = [path]
    for place, folders, files in () if path.is_symlink() else os.walk(path):
        paths += [Path(place, name) for name in (*folders, *files)]
    for each in paths:
        with contextlib.suppress(FileNotFoundError):
            yield each.lstat()
