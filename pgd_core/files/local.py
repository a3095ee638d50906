"""Blobs in a folder of this machine, or of one that several machines share."""

from __future__ import annotations

import hashlib
import os
import re
import tempfile
from pathlib import Path
from typing import BinaryIO

from pgd_core.errors import Forbidden, NotFound

_CHUNK = 2**20
_PART = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,254}")


class LocalFileStore:
    """Implements `jobs.protocols.FileStore`: the key is the path below `root`.

    A file is there whole or not at all: it is written under another name beside its place, brought
    to the disk, then renamed.
    """

    def __init__(self, root: Path) -> None:
        self._root = root.resolve()

    def put(self, key: str, source: Path) -> tuple[int, str]:
        target = self._place(key)
        target.parent.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(dir=target.parent, prefix=".unfinished-")
        unfinished = Path(name)
        try:
            with source.open("rb") as reader, os.fdopen(descriptor, "wb") as writer:
                size, sha256 = _copy(reader, writer)
                os.fchmod(writer.fileno(), 0o644)
            unfinished.replace(target)
        except BaseException:
            unfinished.unlink(missing_ok=True)
            raise
        _sync_folders(target.parent, self._root)
        return size, sha256

    def open(self, key: str) -> BinaryIO:
        return self.path(key).open("rb")

    def path(self, key: str) -> Path:
        path = self._place(key)
        if not path.is_file():
            raise NotFound(f"no file {key!r} in the file store")
        return path

    def delete(self, key: str) -> None:
        """A file that is not there is deleted already."""
        self._place(key).unlink(missing_ok=True)

    def _place(self, key: str) -> Path:
        if not all(_PART.fullmatch(part) for part in key.split("/")):
            raise Forbidden(
                f"{key!r} is no key of a file: parts of letters, digits, '.', '_' and '-', none "
                "beginning with '.', joined by '/'"
            )
        return self._root / key


def _copy(reader: BinaryIO, writer: BinaryIO) -> tuple[int, str]:
    digest, size = hashlib.sha256(), 0
    while chunk := reader.read(_CHUNK):
        digest.update(chunk)
        size += writer.write(chunk)
    writer.flush()
    os.fsync(writer.fileno())
    return size, digest.hexdigest()


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
