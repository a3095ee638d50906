"""What every request goes through: an id for the logs, no other site, a cap on JSON bodies."""

from __future__ import annotations

import re

import structlog
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uuid_utils import uuid7

from api.errors import problem

MAX_JSON_BYTES = 1024 * 1024
_PICTURES = r"/v1/models/[A-Za-z0-9-]{1,64}:predict"


class RequestId:
    """Gives a request an id, the caller's own where it sent a decent one, and logs under it."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        sent = Headers(scope=scope).get("x-request-id", "")
        request_id = sent if re.fullmatch(r"[\w.-]{1,64}", sent, re.ASCII) else str(uuid7())

        async def send_with_id(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message)["x-request-id"] = request_id
            await send(message)

        with structlog.contextvars.bound_contextvars(request_id=request_id):
            await self.app(scope, receive, send_with_id)


class BodyLimit:
    """Refuses bodies over the cap before anything parses them; uploads have a cap of their own."""

    def __init__(self, app: ASGIApp, max_bytes: int = MAX_JSON_BYTES) -> None:
        self.app = app
        self.max_bytes = max_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or _takes_files(scope["path"]) or _is_picture(scope):
            await self.app(scope, receive, send)
            return
        messages = await self._taken(scope, receive)
        if messages is None:
            await self._refuse(scope, receive, send)
            return
        messages.reverse()

        async def replay() -> Message:
            return messages.pop() if messages else await receive()

        await self.app(scope, replay, send)

    async def _taken(self, scope: Scope, receive: Receive) -> list[Message] | None:
        """The whole body as it came, or nothing when it is too large."""
        announced = Headers(scope=scope).get("content-length", "")
        if announced.isdecimal() and int(announced) > self.max_bytes:
            return None
        messages, size = [await receive()], 0
        while True:
            size += len(messages[-1].get("body", b""))
            if size > self.max_bytes:
                return None
            if not messages[-1].get("more_body", False):
                return messages
            messages.append(await receive())

    async def _refuse(self, scope: Scope, receive: Receive, send: Send) -> None:
        detail = f"the body is over {self.max_bytes} bytes; files go to POST /v1/uploads"
        await problem(scope["path"], 413, "too_large", detail)(scope, receive, send)


def _takes_files(path: str) -> bool:
    return path == "/v1/uploads" or path.startswith("/v1/uploads/")


def _is_picture(scope: Scope) -> bool:
    """Of a request that one route alone takes: it has a cap of its own (`api.predicting`)."""
    return scope["method"] == "POST" and re.fullmatch(_PICTURES, scope["path"]) is not None


class SameSite:
    """Refuses what a page of another site makes a browser send, should it know a key."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["method"] not in ("GET", "HEAD", "OPTIONS"):
            site = Headers(scope=scope).get("sec-fetch-site", "none")
            if site not in ("none", "same-origin"):
                detail = "another site's page may not change anything here"
                await problem(scope["path"], 403, "forbidden", detail)(scope, receive, send)
                return
        await self.app(scope, receive, send)
