"""A published file over HTTP, with its sha256 as its strong ETag and If-None-Match.

From a store with links it is a redirect to one; else Starlette's FileResponse, with errors as
problems.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path

from fastapi.responses import FileResponse, RedirectResponse, Response
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.types import Message, Receive, Scope, Send

from api.errors import problem
from api.ranges import MalformedRange, OutsideRange, part_asked_for
from pgd_core.jobs.job import Artifact
from pgd_core.jobs.protocols import FileStore

LINK_VALID_FOR = timedelta(minutes=10)


def identity_headers(artifact: Artifact) -> dict[str, str]:
    """What a 200, a 206 and a 304 say alike."""
    return {
        "ETag": f'"{artifact.sha256}"',
        "Repr-Digest": repr_digest(artifact.sha256),
        "Cache-Control": "private, no-cache",
        "X-Content-Type-Options": "nosniff",
    }


def repr_digest(sha256: str) -> str:
    """RFC 9530's header for a hex digest."""
    return f"sha-256=:{base64.b64encode(bytes.fromhex(sha256)).decode()}:"


def not_modified(artifact: Artifact, request: Request) -> Response | None:
    """304 when the caller holds this very file (RFC 9110, 13.1.2), else nothing."""
    known = request.headers.get("if-none-match")
    if known is None:
        return None
    tags = {tag.strip().removeprefix("W/") for tag in known.split(",")}
    if tags.isdisjoint({"*", f'"{artifact.sha256}"'}):
        return None
    return Response(status_code=304, headers=identity_headers(artifact))


def content_of(artifact: Artifact, request: Request, files: FileStore) -> Response:
    """The file itself, or where to get it."""
    if "if-range" in request.headers and request.method == "GET":
        # Names our ETag, which the storage does not know: it would send whatever part is asked for.
        return ArtifactResponse(artifact, files.path(artifact.key))
    link = files.link(artifact.key, artifact.name, artifact.media_type, LINK_VALID_FOR)
    if link is None:
        return ArtifactResponse(artifact, files.path(artifact.key))
    headers = identity_headers(artifact)
    if request.method == "HEAD":  # a link is good for GET alone
        headers |= {"Content-Length": str(artifact.size), "Accept-Ranges": "bytes"}
        return Response(headers=headers, media_type=artifact.media_type)
    # Kept, and found to be still true by its ETag, it would lead to a link that has expired.
    headers["Cache-Control"] = "no-store"
    return RedirectResponse(link, 307, headers=headers)


class FileAnswer(FileResponse):
    """A file, whole or in ranges, whose refusals are problems."""

    def __init__(
        self, path: Path, media_type: str, filename: str, headers: Mapping[str, str]
    ) -> None:
        found = path.stat()
        self._size = found.st_size
        super().__init__(
            path, headers=headers, media_type=media_type, filename=filename, stat_result=found
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """As FileResponse answers, of whose reading of Range only plain lists of bytes remain."""
        headers = MutableHeaders(raw=list(scope["headers"]))
        try:
            asked = self._asked(scope["method"], headers)
        except (MalformedRange, OutsideRange) as error:
            await _refusal(scope["path"], self._size, error)(scope, receive, send)
            return
        del headers["range"]
        del headers["if-range"]
        if asked is not None:
            headers["range"] = asked
        await super().__call__({**scope, "headers": headers.raw}, receive, send)

    def _asked(self, method: str, headers: Headers) -> str | None:
        """The ranges to send; None: all of it, as for who knows another file (13.1.5)."""
        asked, known = headers.get("range"), headers.get("if-range")
        if asked is None or method != "GET" or known not in (None, self.headers["etag"]):
            return None
        return part_asked_for(asked, self._size)


class ArtifactResponse(FileAnswer):
    """A published file."""

    def __init__(self, artifact: Artifact, path: Path) -> None:
        super().__init__(path, artifact.media_type, artifact.name, identity_headers(artifact))


class LogResponse(FileAnswer):
    """A log as it is now; it may be growing."""

    def __init__(self, path: Path, filename: str) -> None:
        headers = {"Cache-Control": "private, no-cache", "X-Content-Type-Options": "nosniff"}
        super().__init__(path, "text/plain", filename, headers)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """What was written since is left out: no more is sent than was announced."""
        left = 0

        async def send_announced(message: Message) -> None:
            nonlocal left
            if message["type"] == "http.response.start":
                left = int(Headers(raw=message["headers"]).get("content-length", "0"))
            elif message["type"] == "http.response.body":
                body = message.get("body", b"")[:left]
                left -= len(body)
                message = {**message, "body": body}
            await send(message)

        await super().__call__(scope, receive, send_announced)


def _refusal(path: str, size: int, error: MalformedRange | OutsideRange) -> Response:
    if isinstance(error, MalformedRange):
        detail = "the Range header is malformed; write bytes=FIRST-LAST"
        return problem(path, 400, "bad_request", detail)
    detail = f"the range lies outside the file's {size} bytes"
    headers = {"Content-Range": f"bytes */{size}"}
    return problem(path, 416, "range_not_satisfiable", detail, headers=headers)
