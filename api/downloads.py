"""A published file over HTTP, with its sha256 as its strong ETag and If-None-Match.

From a store with links it is a redirect to one; else Starlette's FileResponse, with errors as
problems.
"""

from __future__ import annotations

import base64
from datetime import timedelta
from pathlib import Path

from fastapi.responses import FileResponse, RedirectResponse, Response
from starlette.requests import Request
from starlette.types import Message, Receive, Scope, Send

from api.errors import problem
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


class ArtifactResponse(FileResponse):
    """The file, whole or in ranges."""

    def __init__(self, artifact: Artifact, path: Path) -> None:
        super().__init__(
            path,
            headers=identity_headers(artifact),
            media_type=artifact.media_type,
            filename=artifact.name,
            stat_result=path.stat(),
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """As FileResponse answers, but for its plain-text 400 and 416."""
        refused: dict[str, str] | None = None

        async def send_or_refuse(message: Message) -> None:
            nonlocal refused
            if message["type"] == "http.response.start" and message["status"] >= 400:
                refused = {k.decode(): v.decode() for k, v in message["headers"]}
                await _refusal(scope, message["status"], refused)(scope, receive, send)
            elif refused is None:
                await send(message)

        await super().__call__(scope, receive, send_or_refuse)


def _refusal(scope: Scope, status: int, headers: dict[str, str]) -> Response:
    kept = {"Content-Range": headers["content-range"]} if "content-range" in headers else {}
    code = "range_not_satisfiable" if status == 416 else "bad_request"
    size = headers.get("content-range", "bytes */?").removeprefix("bytes */")
    detail = (
        f"the range lies outside the file's {size} bytes"
        if status == 416
        else "the Range header is malformed; write bytes=FIRST-LAST"
    )
    return problem(scope["path"], status, code, detail, headers=kept)
