"""Large files between here and the service: what is remembered of them, and going on after a break.

An upload that is not finished is remembered in ~/.config/pgd/uploads, a file each, named by the
service and by the content that is sent: the same command goes on where it ended, also of a copy of
the file.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterator
from io import BufferedRandom, BufferedReader
from pathlib import Path
from typing import BinaryIO

import httpx

from api.client.credentials import config_folder, write_private

# Told as it goes: bytes that are done, and bytes that there are.
Progress = Callable[[int, int], None]

TUS_PATH = "/v1/uploads/tus"
READ_BYTES = 1024 * 1024
# Waits of a transfer that gets no further, of about the time that a service takes to start anew,
# and longer than it takes to see that a connection is dead.
RESUME_AFTER_S = (0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 16.0)


def silent(_done: int, _whole: int) -> None:
    """Progress that nobody looks at."""


class Patience:
    """Waits, ever longer while nothing moves; from the beginning once something did."""

    def __init__(self) -> None:
        self._waits = iter(RESUME_AFTER_S)

    def moved(self) -> None:
        """Something did."""
        self._waits = iter(RESUME_AFTER_S)

    def wait_s(self) -> float | None:
        """The next wait; None where it is time to give up."""
        return next(self._waits, None)


class UploadMemory:
    """Where the service takes the rest of a file that was sent in part."""

    def __init__(self, url: httpx.URL, sha256: str, size: int) -> None:
        what = hashlib.sha256(f"{url.scheme}://{url.netloc.decode()} {sha256} {size}".encode())
        self._path = config_folder() / "uploads" / f"{what.hexdigest()[:32]}.json"

    def recall(self) -> str | None:
        """The upload's address on the service, if it was begun."""
        try:
            content = json.loads(self._path.read_text(encoding="utf-8"))
            address = str(content["upload"])
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            return None  # never begun, or damaged: it is begun anew
        return address if is_address(address) else None

    def keep(self, address: str, file: Path) -> None:
        """Remember it."""
        self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        write_private(self._path, json.dumps({"upload": address, "file": str(file)}) + "\n")

    def forget(self) -> None:
        """It is finished, or gone."""
        self._path.unlink(missing_ok=True)


def is_address(path: str) -> bool:
    """Whether it is an upload's on the service: a key is sent nowhere else."""
    return re.fullmatch(rf"{TUS_PATH}/[A-Za-z0-9-]{{1,64}}", path) is not None


def sha256_of(file: BufferedReader | BufferedRandom) -> str:
    """Of all that is left to read."""
    return hashlib.file_digest(file, "sha256").hexdigest()


def read_piece(
    file: BinaryIO, start: int, size: int, told: Callable[[int], None]
) -> Iterator[bytes]:
    """So many bytes from there on; `told` where the next ones begin."""
    file.seek(start)
    left = size
    while left and (content := file.read(min(READ_BYTES, left))):
        left -= len(content)
        yield content
        told(start + size - left)
