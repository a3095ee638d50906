"""Files of a remote store on this machine's disk, shared by its processes and bounded in size."""

from __future__ import annotations

import fcntl
import os
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from pgd_core.errors import StorageUnavailable
from pgd_core.files.measure import measure

# Who asked for a file has opened it by then: a trainer loads its teacher as it starts, and a
# teacher's check may last a quarter of an hour.
IN_USE_S = 3600.0
_NAME_LENGTH = 100  # of the key's last part, kept for its ending


class FileCache:
    """A folder of files named by their sha256.

    The files that were asked for longest ago are deleted beyond `max_bytes`. One that was asked
    for within `IN_USE_S` is left alone, even where the cache outgrows its size for that long.
    """

    def __init__(self, folder: Path, max_bytes: int) -> None:
        self._folder, self._max_bytes = folder.resolve(), max_bytes

    def get(self, name: str, size: int, sha256: str, fetch: Callable[[Path], None]) -> Path:
        """The file of that content, read through to its last byte; `fetch` writes a missing one.

        StorageUnavailable when `fetch` brings anything else.
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        place = self._folder / f"{sha256}-{name[-_NAME_LENGTH:]}"
        if self._touched(place) and _measured(place) == (size, sha256):
            return place
        self._make_room(size)
        part = self._folder / f"{uuid.uuid4().hex}.part"
        try:
            fetch(part)
            if (found := _measured(part)) != (size, sha256):
                raise StorageUnavailable(
                    f"{name} arrived with {found[0]} bytes and sha256 {found[1]}, not {size} bytes "
                    f"and {sha256}"
                )
            os.utime(part)
            part.replace(place)
        finally:
            part.unlink(missing_ok=True)
        return place

    def _touched(self, place: Path) -> bool:
        """Whether it is there; from now on, no process deletes it for a while."""
        with self._locked():
            try:
                os.utime(place)
            except FileNotFoundError:
                return False
            return True

    def _make_room(self, size: int) -> None:
        with self._locked():
            left = sorted(self._files())
            total = sum(file_size for _, file_size, _ in left) + size
            for used_at, file_size, path in left:
                if total <= self._max_bytes or time.time() - used_at < IN_USE_S:
                    return
                path.unlink(missing_ok=True)
                total -= file_size

    def _files(self) -> Iterator[tuple[float, int, Path]]:
        """(last used, bytes, path) of each, those that a killed process left half fetched too."""
        for path in self._folder.glob("[0-9a-f]*"):
            with suppress(FileNotFoundError):  # another process has just renamed it
                found = path.stat()
                yield found.st_mtime, found.st_size, path

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Held for moments: nothing is deleted between its being seen and its being touched."""
        with (self._folder / ".lock").open("a") as file:
            fcntl.flock(file, fcntl.LOCK_EX)  # let go when the file is closed
            yield


def _measured(path: Path) -> tuple[int, str]:
    with path.open("rb") as file:
        return measure(file)
