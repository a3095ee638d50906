"""Taking a body in: to disk piece by piece, with a running sha256, never whole in memory."""

from __future__ import annotations

import base64
import binascii
import errno
import hashlib
import re
import shutil
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

from fastapi.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect
from uuid_utils import uuid7

from api.errors import DigestMismatch, StorageFull, TooLarge
from api.pieces import gathered
from api.services import Services
from pgd_core.errors import BadRequest
from pgd_core.jobs.job import Upload
from pgd_core.settings import Settings


async def receive_upload(
    body: AsyncIterator[bytes],
    services: Services,
    *,
    team: str,
    filename: str,
    announced_size: str | None,
    expected: tuple[str | None, str | None],  # hex sha256, Repr-Digest header
) -> Upload:
    """The body as a registered file; nothing is left of one that is refused or breaks off."""
    upload_id = str(uuid7())
    digests = expected_digests(*expected)
    scratch = services.scratch_folder() / upload_id
    _check_announced(scratch.parent, announced_size, services.settings)
    key = f"uploads/{upload_id}"
    try:
        sha256 = await _stream(body, scratch, services.settings)
        if any(digest != sha256 for digest in digests):
            raise DigestMismatch(
                f"the body's sha256 is {sha256}, not the one announced; send again"
            )
        size, _ = await run_in_threadpool(services.files.put, key, scratch)
        upload = Upload(upload_id, filename, size, sha256, key, datetime.now(UTC), team)
        await run_in_threadpool(_register, upload, services)
        return upload
    except (ClientDisconnect, TimeoutError) as error:
        raise BadRequest("the body broke off before its end; send it again") from error
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise StorageFull("the server's disk is full; nothing was kept") from error
        raise
    finally:
        scratch.unlink(missing_ok=True)


def _register(upload: Upload, services: Services) -> None:
    try:
        services.library.add_upload(upload)
    except BaseException:  # nobody could ever name the file
        services.files.delete(upload.key)
        raise


async def _stream(body: AsyncIterator[bytes], path: Path, settings: Settings) -> str:
    """Write the body to `path`; its sha256."""
    running, size = hashlib.sha256(), 0

    def take(file: BinaryIO, piece: bytes) -> None:
        _check_room(path.parent, len(piece), settings)  # others write at the same time
        running.update(piece)
        file.write(piece)

    with path.open("xb") as file:
        async for piece in gathered(body):
            size += len(piece)
            if size > settings.max_upload_bytes:
                raise _too_large(settings.max_upload_bytes)
            await run_in_threadpool(take, file, piece)
    if size == 0:
        raise BadRequest("the body is empty; send the file's bytes as the body")
    return running.hexdigest()


def _check_announced(folder: Path, announced_size: str | None, settings: Settings) -> None:
    """Refuse at once what cannot fit; a body without Content-Length shows its size as it comes."""
    folder.mkdir(parents=True, exist_ok=True)
    size = int(announced_size) if announced_size and announced_size.isdecimal() else 0
    if size > settings.max_upload_bytes:
        raise _too_large(settings.max_upload_bytes)
    _check_room(folder, size, settings)


def _check_room(folder: Path, size: int, settings: Settings) -> None:
    """StorageFull where the disk would fall below its low-water mark."""
    if shutil.disk_usage(folder).free < size + settings.min_free_bytes:
        raise StorageFull(f"the server's disk has no room for {size} bytes")


def _too_large(max_bytes: int) -> TooLarge:
    return TooLarge(
        f"the body is over {max_bytes} bytes, this server's limit (PGD_MAX_UPLOAD_BYTES)"
    )


def expected_digests(sha256: str | None, repr_digest: str | None) -> list[str]:
    """The hex digests that the body must have; Repr-Digest's other algorithms are ignored."""
    found = [sha256.lower()] if sha256 else []
    for member in (repr_digest or "").split(","):
        algorithm, _, value = member.strip().partition("=")
        if algorithm.lower() == "sha-256":
            found.append(_decoded(value))
    return found


def _decoded(value: str) -> str:
    match = re.fullmatch(r":([A-Za-z0-9+/=]+):", value)
    try:
        digest = base64.b64decode(match.group(1), validate=True) if match else b""
    except binascii.Error:
        digest = b""
    if len(digest) != 32:
        raise BadRequest("Repr-Digest must be sha-256=:BASE64: of 32 bytes (RFC 9530)")
    return digest.hex()
