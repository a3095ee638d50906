"""Folders that machines share: whether this machine has the one that the others have."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Iterable
from pathlib import Path

MARK_FILE = "data-folder.id"


class DataFolder:
    """The data folder, known by its mark.

    A share that is not mounted is an empty folder of this machine: what a worker wrote there, no
    other machine would find, and every file that it looked for would be missing.
    """

    def __init__(self, folder: Path, shared: Callable[[str], str]) -> None:
        """`shared` gives the mark of the folder that all share: the given one, if none is known."""
        self._folder, self._shared = folder.resolve(), shared
        self._wanted = ""

    def trouble(self) -> str:
        """A sentence where this is another folder than the others'; OSError where it is away."""
        found = _mark_of(self._folder)
        if not self._wanted:
            self._wanted = self._shared(found)
        if found == self._wanted:
            return ""
        return (
            f"{self._folder} is not the data folder of this database, whose {MARK_FILE} says "
            f"{self._wanted}: mount its share, or set PGD_DATA_FOLDER; if it was lost for good, "
            f"write that into {self._folder / MARK_FILE}"
        )


def not_mounted(paths: Iterable[Path], roots: Iterable[Path]) -> str:
    """A sentence where the root of one of the paths is empty or missing, as where its share is not
    mounted; "" otherwise, whether the path itself is there or not."""
    resolved = [root.resolve() for root in roots]
    of_paths = {root: None for path in paths for root in resolved if path.is_relative_to(root)}
    for root in of_paths:
        if is_bare(root):
            return f"the folder {root} is empty or missing on this machine: is its share mounted?"
    return ""


def is_bare(folder: Path) -> bool:
    """Whether there is nothing in the folder, or no such folder."""
    try:
        with os.scandir(folder) as found:
            return next(found, None) is None
    except (FileNotFoundError, NotADirectoryError):
        return True


def _mark_of(folder: Path) -> str:
    """What the folder's mark says; it is made where there is none."""
    mark = folder / MARK_FILE
    try:
        return mark.read_text(encoding="utf-8").strip()
    except FileNotFoundError:
        folder.mkdir(parents=True, exist_ok=True)
    new = folder / f".{MARK_FILE}.{secrets.token_hex(4)}"
    try:
        new.write_text(secrets.token_hex(16) + "\n", encoding="utf-8")
        mark.hardlink_to(new)  # whole; of processes that start together, the first one's
    except FileExistsError:
        pass
    finally:
        new.unlink(missing_ok=True)
    return mark.read_text(encoding="utf-8").strip()
