"""Requests byte by byte, as no decent client would send them."""

from __future__ import annotations

import contextlib
import json
import socket
from dataclasses import dataclass
from http.client import HTTPResponse
from typing import Any
from urllib.parse import urlsplit

from tests.api.live import Live

Headers = list[tuple[bytes, bytes]]
JSON: Headers = [(b"Content-Type", b"application/json")]
UNREADABLE = "Invalid HTTP request received."  # uvicorn's own, before there is a request to answer


@dataclass(frozen=True)
class Answer:
    """What came back."""

    status: int
    media_type: str
    body: bytes

    def problem(self) -> dict[str, Any]:
        """The refusal's RFC 9457 body."""
        assert self.media_type == "application/problem+json", self
        found: dict[str, Any] = json.loads(self.body)
        assert found["status"] == self.status
        assert found["code"] != "internal_error"
        return found


def ask(
    live: Live,
    target: bytes,
    method: bytes = b"GET",
    *,
    headers: Headers = [],  # noqa: B006  not changed
    body: bytes = b"",
    whose: str | None = "operator",
) -> Answer:
    """The answer to exactly these bytes; Host, the key and Content-Length are added."""
    given = {name.lower() for name, _ in headers}
    lines = [b"%s %s HTTP/1.1" % (method, target), b"Host: api.example", b"Connection: close"]
    if whose is not None and b"authorization" not in given:
        lines.append(b"Authorization: Bearer " + live.secrets[whose].encode())
    if body and not given & {b"content-length", b"transfer-encoding"}:
        lines.append(b"Content-Length: %d" % len(body))
    lines += [b"%s: %s" % header for header in headers]
    return send(live, b"\r\n".join(lines) + b"\r\n\r\n" + body)


def send(live: Live, request: bytes) -> Answer:
    """The answer to these bytes."""
    place = urlsplit(live.url)
    with socket.create_connection((place.hostname, place.port), timeout=60) as connection:
        with contextlib.suppress(ConnectionError):  # answered, and closed, before it was all sent
            connection.sendall(request)
        method = request.partition(b" ")[0].decode("ascii", "replace")
        with contextlib.closing(HTTPResponse(connection, method=method)) as answer:
            answer.begin()
            media_type = answer.headers.get_content_type() if answer.headers["content-type"] else ""
            return Answer(answer.status, media_type, answer.read())
