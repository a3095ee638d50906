"""Bytes of a resumable upload: written behind those that are there, kept whatever breaks off.

The row says how many bytes are on the disk for certain: it is moved on after each fsync, so that
neither a killed process nor a power cut leaves an offset beyond the bytes. What a process that was
killed wrote after that is cut off, and sent again.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

from fastapi.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect

from api.errors import DigestMismatch, StorageFull, TooLarge
from api.pieces import gathered
from api.services import Services
from api.upload_errors import OffsetConflict, UploadBusy, UploadGone
from pgd_core.errors import BadRequest, Conflict, NotFound
from pgd_core.files.full_disk import lacks_room
from pgd_core.files.measure import measure
from pgd_core.jobs.unfinished import UnfinishedUpload

COMMIT_BYTES = 16 * 2**20  # written before they are brought to the disk and counted


def check_room(services: Services, folder: Path, size: int) -> None:
    """StorageFull where the disk would fall below its low-water mark."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    if shutil.disk_usage(folder).free < size + services.settings.min_free_bytes:
        raise StorageFull(f"the server's disk has no room for {size} bytes; what arrived is kept")


def valid_for(services: Services) -> timedelta:
    """How long an upload may lie still."""
    return timedelta(hours=services.settings.keep_unfinished_h)


async def append(
    body: AsyncIterator[bytes],
    services: Services,
    upload: UnfinishedUpload,
    *,
    offset: int,  # where the sender thinks that the upload ends
    announced: int | None,  # bytes that will come
) -> UnfinishedUpload:
    """The upload with the body's bytes behind its own; whole, it is registered."""
    if upload.finished_at is not None:
        return _unchanged(upload, offset, announced)
    try:
        end = await run_in_threadpool(End, services, upload.id, offset, announced)
    except FileNotFoundError:
        await _skip(body, upload, offset)
        return await run_in_threadpool(finish, services, upload)
    try:
        await _write(body, end)
        if end.upload.received == end.upload.length:
            return await run_in_threadpool(finish, services, end.upload)
        return end.upload
    finally:
        end.close()


async def _write(body: AsyncIterator[bytes], end: End) -> None:
    try:
        try:
            async for piece in gathered(body):
                await run_in_threadpool(end.write, piece)
        finally:
            await run_in_threadpool(end.commit)
    except (ClientDisconnect, TimeoutError) as error:
        offset = end.upload.offset
        raise BadRequest(f"the body broke off; the upload goes on at byte {offset}") from error
    except OSError as error:
        if lacks_room(error):
            raise StorageFull("the server's disk is full; what arrived is kept") from error
        raise


class End:
    """The end of an upload's bytes, in the hands of one request; its methods block.

    FileNotFoundError where the bytes are not here (any more).
    """

    def __init__(
        self, services: Services, upload_id: str, offset: int, announced: int | None
    ) -> None:
        self._services, self._path = services, services.unfinished_file(upload_id)
        self._number = os.open(self._path, os.O_WRONLY)
        try:
            self._hold(upload_id)
            self.upload = services.unfinished.get(upload_id)
            _check_place(self.upload, offset, announced)
            check_room(services, self._path.parent, announced or 0)
            if os.fstat(self._number).st_size < self.upload.received:
                raise UploadGone(f"the bytes of upload {upload_id} are lost; begin it anew")
            os.ftruncate(self._number, self.upload.received)
            self._position = self._committed = os.lseek(self._number, offset, os.SEEK_SET)
        except BaseException:
            self.close()
            raise

    def write(self, piece: bytes) -> None:
        """Put it behind the others."""
        if self._position + len(piece) > self.upload.length:
            raise _past_the_end(self.upload)
        rest = memoryview(piece)
        while rest:
            written = os.write(self._number, rest)
            self._position += written
            rest = rest[written:]
        if self._position - self._committed >= COMMIT_BYTES:
            self.commit()
            check_room(self._services, self._path.parent, 0)

    def commit(self) -> None:
        """Bring what was written to the disk, and count it."""
        if self._position == self._committed:
            return
        os.fsync(self._number)
        size = max(self._position, self.upload.received)
        lasts = valid_for(self._services)
        self.upload = self._services.unfinished.received(self.upload.id, size, lasts)
        self._committed = self._position

    def close(self) -> None:
        """Let others write; again does nothing."""
        number, self._number = self._number, -1
        if number >= 0:
            os.close(number)

    def _hold(self, upload_id: str) -> None:
        """Lock the file, for as long as it is open; the kernel unlocks it for who was killed."""
        try:
            fcntl.flock(self._number, fcntl.LOCK_EX | fcntl.LOCK_NB)
            here, there = os.fstat(self._number), self._path.stat()
        except (BlockingIOError, FileNotFoundError) as error:
            raise busy(upload_id) from error
        if here.st_ino != there.st_ino:  # it went elsewhere between the opening and the lock
            raise busy(upload_id)


def busy(upload_id: str) -> UploadBusy:
    """What is said to who comes second."""
    return UploadBusy(f"another request is writing to upload {upload_id}; ask for its offset again")


def create_file(services: Services, upload: UnfinishedUpload) -> None:
    """The empty file of a new upload, which is dropped where there can be none."""
    path = services.unfinished_file(upload.id)
    try:
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
        _sync(path.parent)
    except OSError as error:
        services.unfinished.drop(upload.id)
        if lacks_room(error):
            raise StorageFull("the server's disk is full; nothing was begun") from error
        raise


def _sync(folder: Path) -> None:
    number = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)


def delete(services: Services, upload: UnfinishedUpload) -> None:
    """Forget an upload that is not finished; UploadBusy where somebody writes to it."""
    path = services.unfinished_file(upload.id)
    with contextlib.suppress(FileNotFoundError), path.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise busy(upload.id) from error
        services.unfinished.drop(upload.id)
        path.unlink(missing_ok=True)
        return
    services.unfinished.drop(upload.id)


def check_alive(services: Services, upload: UnfinishedUpload) -> None:
    """UploadGone where the upload cannot go on."""
    if upload.finished_at is not None:
        return
    if upload.expired:
        raise UploadGone(f"upload {upload.id} expired at {upload.expires_at:%Y-%m-%d %H:%M} UTC")
    moved = upload.received == upload.length  # to the file store, and not registered yet
    if not moved and not services.unfinished_file(upload.id).exists():
        raise UploadGone(f"the bytes of upload {upload.id} are lost; begin it anew")


def finish(services: Services, upload: UnfinishedUpload) -> UnfinishedUpload:
    """Bring the whole file to the file store and register it.

    Whoever was killed on the way is followed by another: the key is the upload's own.
    """
    key = f"uploads/{upload.id}"
    try:
        size, sha256 = services.files.put(key, services.unfinished_file(upload.id))
    except FileNotFoundError:
        size, sha256 = _measured(services, upload, key)
    if upload.sha256 and sha256 != upload.sha256:
        services.files.delete(key)
        services.unfinished.drop(upload.id)
        raise DigestMismatch(
            f"the file's sha256 is {sha256}, not {upload.sha256}; it was deleted, send it anew"
        )
    try:
        services.unfinished.finish(upload.id, key=key, size=size, sha256=sha256)
    except Conflict as error:  # another was faster; whose it is, is told once
        raise OffsetConflict(upload.id, upload.offset, upload.length) from error
    return services.unfinished.get(upload.id)


def _measured(services: Services, upload: UnfinishedUpload, key: str) -> tuple[int, str]:
    try:
        with services.files.open(key) as file:
            return measure(file)
    except NotFound as error:
        raise UploadGone(f"the bytes of upload {upload.id} are lost; begin it anew") from error


def _unchanged(upload: UnfinishedUpload, offset: int, announced: int | None) -> UnfinishedUpload:
    _check_place(upload, offset, announced)
    return upload


def _check_place(upload: UnfinishedUpload, offset: int, announced: int | None) -> None:
    if offset != upload.offset:
        raise OffsetConflict(upload.id, offset, upload.offset)
    if offset + (announced or 0) > upload.length:
        raise _past_the_end(upload)


def _past_the_end(upload: UnfinishedUpload) -> TooLarge:
    return TooLarge(f"upload {upload.id} was announced with {upload.length} bytes, no more fit")


async def _skip(body: AsyncIterator[bytes], upload: UnfinishedUpload, offset: int) -> None:
    """The last byte of a file that is in the file store already, sent once more."""
    if upload.received < upload.length:
        raise UploadGone(f"the bytes of upload {upload.id} are lost; begin it anew")
    if offset != upload.offset:
        raise OffsetConflict(upload.id, offset, upload.offset)
    size = 0
    async for piece in body:
        size += len(piece)
        if offset + size > upload.length:
            raise _past_the_end(upload)
