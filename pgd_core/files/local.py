"""Blobs in a folder of this machine, or of one that several machines share."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import BinaryIO

from pgd_core.errors import NotFound, StorageUnavailable
from pgd_core.files.keys import checked_key, is_part
from pgd_core.files.measure import CHUNK_BYTES, measure
from pgd_core.files.shares import is_bare
from pgd_core.jobs.protocols import StoredFile

_UNFINISHED = ".unfinished-"


class LocalFileStore:
    """Implements `jobs.protocols.FileStore`: the key is the path below `root`.

    A file is there whole or not at all: it is brought to the disk, then renamed into its place;
    one of another file system is first copied beside it.
    """

    def __init__(self, root: Path) -> None:
        self._root = root.resolve()

    def put(self, key: str, source: Path) -> tuple[int, str]:
        target = self._place(key)
        target.parent.mkdir(parents=True, exist_ok=True)
        with source.open("rb") as file:
            size, sha256 = measure(file)
            os.fchmod(file.fileno(), 0o644)
            os.utime(file.fileno())  # its age is its time in the store
            os.fsync(file.fileno())
        try:
            source.replace(target)
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
            _copy(source, target)
            source.unlink()
        _sync_folders(target.parent, self._root)
        return size, sha256

    def open(self, key: str) -> BinaryIO:
        return self.path(key).open("rb")

    def path(self, key: str) -> Path:
        path = self._place(key)
        if path.is_file():
            return path
        if is_bare(self._root):
            raise StorageUnavailable(f"nothing lies in {self._root}: is its share mounted?")
        raise NotFound(f"no file {key!r} in the file store")

    def keys(self, folder: str) -> Sequence[str]:
        place = self._place(folder)
        found = place.iterdir() if place.is_dir() else ()
        return sorted(
            f"{folder}/{path.name}" for path in found if is_part(path.name) and path.is_file()
        )

    def delete(self, key: str) -> None:
        """A file that is not there is deleted already."""
        self._place(key).unlink(missing_ok=True)

    def walk(self, folder: str) -> Iterator[StoredFile]:
        for path in _files_below(self._place(folder)):
            key = path.relative_to(self._root).as_posix()
            if not all(is_part(part) for part in key.split("/")):
                continue
            with contextlib.suppress(FileNotFoundError):  # deleted since it was listed
                found = path.stat()
                put_at = datetime.fromtimestamp(found.st_mtime, UTC)
                yield StoredFile(key, found.st_size, put_at)

    def forget_unfinished(self, older_than: timedelta) -> int:
        freed, oldest = 0, time.time() - older_than.total_seconds()
        for path in _files_below(self._root):
            if path.name.startswith(_UNFINISHED):
                with contextlib.suppress(FileNotFoundError):  # finished, or forgotten by another
                    found = path.stat()
                    if found.st_mtime < oldest:
                        path.unlink()
                        freed += found.st_size
        return freed

    def link(self, key: str, filename: str, media_type: str, valid_for: timedelta) -> None:  # noqa: ARG002
        checked_key(key)

    def check(self) -> str:
        if not (self._root.is_dir() and os.access(self._root, os.W_OK | os.X_OK)):
            raise StorageUnavailable(f"{self._root} is no folder that can be written to")
        return "the folder can be written to"

    def _place(self, key: str) -> Path:
        return self._root / checked_key(key)


def _files_below(folder: Path) -> Iterator[Path]:
    for place, _, names in os.walk(folder):
        yield from (Path(place, name) for name in names)


def _copy(source: Path, target: Path) -> None:
    descriptor, name = tempfile.mkstemp(dir=target.parent, prefix=_UNFINISHED)
    unfinished = Path(name)
    try:
        with source.open("rb") as reader, os.fdopen(descriptor, "wb") as writer:
            shutil.copyfileobj(reader, writer, CHUNK_BYTES)
            os.fchmod(writer.fileno(), 0o644)
            writer.flush()
            os.fsync(writer.fileno())
        unfinished.replace(target)
    except BaseException:
        unfinished.unlink(missing_ok=True)
        raise


def _sync_folders(folder: Path, root: Path) -> None:
    """A rename, and folders made for it, last once the folders that hold them are on the disk."""
    while True:
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        if folder == root:
            return
        folder = folder.parent
