"""What lies in folders, so that nobody writes into them unseen."""

from __future__ import annotations

import os
from pathlib import Path

# Git's and Python's own, and what the tools leave; tests beside this one write there.
NOT_OURS = frozenset({".git", ".venv", "__pycache__", ".pytest_cache", ".mypy_cache"})
NOT_OURS_EITHER = frozenset({".ruff_cache", ".hypothesis", ".import_linter_cache", ".schemathesis"})

Listing = dict[str, tuple[int, int]]  # by path: time of change, size


def listing(*folders: Path, without: tuple[Path, ...] = ()) -> Listing:
    """Every file and folder below these but `without`."""
    found: Listing = {}
    for top in folders:
        for folder, names, files in os.walk(top):
            here = Path(folder)
            names[:] = [
                name
                for name in names
                if name not in NOT_OURS | NOT_OURS_EITHER
                and not name.endswith(".egg-info")
                and here / name not in without
            ]
            for name in [*names, *files]:
                path = here / name
                if path not in without:
                    seen = path.lstat()
                    is_folder = name in names  # its time changes with what lies in it
                    found[str(path)] = (0, 0) if is_folder else (seen.st_mtime_ns, seen.st_size)
    return found


def differences(before: Listing, after: Listing) -> list[str]:
    """Paths that came, went or changed."""
    return sorted(path for path in before | after if before.get(path) != after.get(path))
