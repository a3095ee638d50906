"""A file's size and sha256, which tell whether it is the one that was put."""

from __future__ import annotations

import hashlib
from typing import BinaryIO

CHUNK_BYTES = 2**20


def measure(file: BinaryIO) -> tuple[int, str]:
    """Size in bytes and hex sha256 of what is left to read, never whole in memory."""
    digest, size = hashlib.sha256(), 0
    while chunk := file.read(CHUNK_BYTES):
        digest.update(chunk)
        size += len(chunk)
    return size, digest.hexdigest()
