"""A part of a data set as a zip, made while it is sent, by a process of its own.

Reading a large annotation file takes gigabytes and minutes: the process has a limit on memory, the
pipe between us holds it up while the caller is slow, and it ends with the caller. Nothing is
written to the disk.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import IO

import structlog
from fastapi.responses import StreamingResponse
from starlette.types import Message, Receive, Scope, Send

from api.errors import NotServing
from pgd_core.datasets.subset import Subset
from pgd_core.errors import BadRequest, InvalidSpec
from pgd_core.jobs.job import Dataset

MAX_AT_ONCE = 2  # each may take its memory, and holds a thread
COMMAND = (sys.executable, "-m", "pgd_core.datasets", "subset-zip")
STALLED_S = 60.0  # a caller who takes nothing for so long gives its place to others
_PIECE = 2**18
_REFUSED = 2  # the command's exit code for what cannot be had
_SAID = 2000  # characters of what it says

_free = threading.BoundedSemaphore(MAX_AT_ONCE)


def send_subset(
    dataset: Dataset, wanted: Subset, command: Sequence[str] | None = None
) -> SubsetResponse:
    """The zip from its first piece on; InvalidSpec for what cannot be had, NotServing where as many
    as may be are on their way."""
    if not _free.acquire(blocking=False):
        raise NotServing(f"{MAX_AT_ONCE} subsets are being sent; ask again in a while")
    try:
        making = _Making(dataset, wanted, command or COMMAND)
    except BaseException:
        _free.release()
        raise
    return SubsetResponse(making, f"subset-{dataset.id}.zip")


class SubsetResponse(StreamingResponse):
    """Sends what the process makes; breaks off where it fails, so that no half looks whole."""

    def __init__(self, making: _Making, filename: str) -> None:
        headers = {
            "Content-Disposition": f'attachment; filename="{filename}"',
            "Cache-Control": "private, no-store",
            "X-Content-Type-Options": "nosniff",
        }
        super().__init__(making.pieces(), headers=headers, media_type="application/zip")
        self._making = making

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_in_time(message: Message) -> None:
            try:
                async with asyncio.timeout(STALLED_S):
                    await send(message)
            except TimeoutError as error:
                raise BrokenOff(f"the caller took nothing for {STALLED_S:.0f} s") from error

        try:
            await super().__call__(scope, receive, send_in_time)
        except BrokenOff as error:  # an answer without an end: the server closes the connection
            structlog.get_logger().warning("subset_broke_off", message=str(error))
        finally:  # sent, or the caller is gone
            self._making.end()
            _free.release()


class _Making:
    """The process, from the moment that its first bytes are there."""

    def __init__(self, dataset: Dataset, wanted: Subset, command: Sequence[str]) -> None:
        parts = (
            *(dataset.train_annotations, dataset.train_images),
            *(dataset.val_annotations, dataset.val_images),
        )
        self._said: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115  `end` closes it
        self._process = subprocess.Popen(
            [*command, *parts, "--wanted", json.dumps(asdict(wanted))],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=self._said,
        )
        assert self._process.stdout is not None
        self._out = self._process.stdout
        try:
            self._first = self._out.read(_PIECE)
            if not self._first:
                self._raise_why()
        except BaseException:
            self.end()
            raise

    def pieces(self) -> Iterator[bytes]:
        piece = self._first
        while piece:
            yield piece
            piece = self._out.read(_PIECE)
        if self._process.wait() != 0:
            raise BrokenOff(self._words())

    def end(self) -> None:
        """Whether it is done or not."""
        self._process.kill()
        self._process.wait()
        self._out.close()
        self._said.close()

    def _raise_why(self) -> None:
        code, words = self._process.wait(), self._words()
        if code == _REFUSED:
            raise InvalidSpec(words)
        raise BadRequest(
            f"the subset cannot be made: {words or f'its process ended with code {code}'}; ask for "
            "one of fewer classes, or take it from the folder itself"
        )

    def _words(self) -> str:
        """Its last words."""
        self._said.seek(0)
        lines = self._said.read().decode(errors="replace").strip().splitlines()
        return lines[-1][:_SAID] if lines else ""


class BrokenOff(Exception):
    """The process failed after its first bytes were sent, or the caller takes no more."""
