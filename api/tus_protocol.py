"""What tus 1.0 (tus.io, the protocol of resumable uploads) asks of every request, and its headers.

Spoken: the core protocol, creation, expiration and termination. Not spoken: creation-with-upload,
checksum (a declared sha256 of the whole file is checked instead) and concatenation.
"""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass
from email.utils import format_datetime
from typing import Annotated

from fastapi import Depends, Header
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.requests import NO_CONTROL
from api.upload_errors import TUS_VERSION, WrongMediaType, WrongVersion
from pgd_core.errors import BadRequest
from pgd_core.jobs.unfinished import UnfinishedUpload

TUS_PATH = "/v1/uploads/tus"
EXTENSIONS = "creation,expiration,termination"
PIECE_TYPE = "application/offset+octet-stream"
NUMBER = r"^[0-9]{1,19}$"  # as no sign, no space and no underscore is a number here
_PAIR = re.compile(r"[!-+\--~]+( [A-Za-z0-9+/=]*)?")
_OVERRIDE = "x-http-method-override"
_OVERRIDES = frozenset({"PATCH", "DELETE"})


class TusProtocol:
    """Names the version on every answer, and lets POST stand for PATCH and DELETE where asked.

    It stands before whatever decides by the method: those see the one that is meant.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not scope["path"].startswith(TUS_PATH):
            await self.app(scope, receive, send)
            return

        async def send_with_version(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message)["tus-resumable"] = TUS_VERSION
            await send(message)

        meant = Headers(scope=scope).get(_OVERRIDE, "").strip().upper()
        if scope["method"] == "POST" and meant in _OVERRIDES:
            scope["method"] = meant
        await self.app(scope, receive, send_with_version)


def _checked_version(
    tus_resumable: Annotated[
        str, Header(max_length=100, examples=[TUS_VERSION], description="The protocol's version.")
    ] = "",
) -> None:
    if tus_resumable != TUS_VERSION:
        raise WrongVersion(
            f"Tus-Resumable is {tus_resumable!r}; this service speaks tus {TUS_VERSION}"
        )


def _checked_type(
    content_type: Annotated[str, Header(include_in_schema=False)] = "",
) -> None:
    if content_type.strip().lower() != PIECE_TYPE:
        raise WrongMediaType(f"Content-Type is {content_type!r}; a piece's is {PIECE_TYPE}")


VERSION = Depends(_checked_version)
PIECE = Depends(_checked_type)


@dataclass(frozen=True)
class Metadata:
    """What the sender said of the file."""

    filename: str
    sha256: str  # lower case; "" where it was not said


def metadata_of(header: str) -> Metadata:
    """Upload-Metadata: `key BASE64` joined by commas; keys that mean nothing here are let be."""
    said: dict[str, str] = {}
    for pair in filter(None, (part.strip() for part in header.split(","))):
        key, _, value = pair.partition(" ")
        if not _PAIR.fullmatch(pair) or key in said:
            raise BadRequest(f"Upload-Metadata: {pair[:80]!r} is no KEY BASE64, or comes twice")
        said[key] = value
    filename = _text(said, "filename") or _text(said, "name")
    if len(filename) > 200 or not re.fullmatch(NO_CONTROL, filename):
        raise BadRequest("Upload-Metadata: filename has over 200 characters, or control ones")
    sha256 = _text(said, "sha256").lower()
    if sha256 and not re.fullmatch("[0-9a-f]{64}", sha256):
        raise BadRequest("Upload-Metadata: sha256 must be 64 hexadecimal digits")
    return Metadata(filename, sha256)


def _text(said: dict[str, str], key: str) -> str:
    try:
        return base64.b64decode(said.get(key, ""), validate=True).decode()
    except (binascii.Error, ValueError) as error:
        raise BadRequest(f"Upload-Metadata: {key} is no UTF-8 text in base64") from error


def state_headers(upload: UnfinishedUpload) -> dict[str, str]:
    """How far the upload is, and until when it may go on."""
    headers = {"Upload-Offset": str(upload.offset)}
    if upload.finished_at is None:
        headers["Upload-Expires"] = format_datetime(upload.expires_at, usegmt=True)
    else:
        headers["Content-Location"] = f"/v1/uploads/{upload.id}"
    return headers
