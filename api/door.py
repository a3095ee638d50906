"""The door: nothing but the public pages is reached without an API key that is good.

It stands before the routes and before the body is read, so that a new route, or an address that is
none, tells strangers nothing. What a key's role allows, the routes say (`api.caller`).
"""

from __future__ import annotations

import math

import structlog
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import Response
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from api import docs_page
from api.caller import Caller
from api.errors import RateLimited, problem
from api.services import Services
from pgd_core.errors import Unauthenticated
from pgd_core.jobs.keys import Key

PUBLIC_PAGES = frozenset({"/livez", "/readyz", "/openapi.json", docs_page.PAGE})
PUBLIC_FOLDERS = ("/problems/", f"{docs_page.ASSETS}/")
_HOW = "send the header 'Authorization: Bearer pgd_…' with an API key"


def is_public(path: str) -> bool:
    """Whether the page is for everybody."""
    return path in PUBLIC_PAGES or path.startswith(PUBLIC_FOLDERS)


class Door:
    """Finds the caller by the key, and slows down who asks too often."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or is_public(scope["path"]):
            await self.app(scope, receive, send)
            return
        services: Services = scope["app"].state.services
        if scope["path"] == "/metrics" and services.settings.metrics_public:
            await self.app(scope, receive, send)
            return
        try:
            secret = _secret(Headers(scope=scope))
            key = services.keys.remembered(secret) or await _holder(services, secret)
        except Unauthenticated as error:
            structlog.get_logger().info("not_let_in", path=scope["path"], why=error.message)
            await _refusal(scope["path"], error)(scope, receive, send)
            return
        wait_s = services.rates.take(key.id)
        if wait_s > 0:
            await _too_many(scope["path"], wait_s)(scope, receive, send)
            return
        if services.rates.is_due(key.id):
            await run_in_threadpool(_note_use, services, key.id)
        scope.setdefault("state", {})["caller"] = Caller.of(key)
        with structlog.contextvars.bound_contextvars(key=key.name):
            await self.app(scope, receive, send)


def _secret(headers: Headers) -> str:
    sent = headers.getlist("authorization") or [""]
    if len(sent) > 1:  # a proxy before us may have looked at another one
        raise Unauthenticated(f"there are {len(sent)} Authorization headers; send one")
    scheme, _, secret = sent[0].partition(" ")
    if scheme.lower() != "bearer" or not secret.strip():
        raise Unauthenticated(f"this needs an API key: {_HOW}")
    return secret.strip()


async def _holder(services: Services, secret: str) -> Key:
    return await run_in_threadpool(services.keys.holder, secret)


def _note_use(services: Services, key_id: str) -> None:
    """When the database takes no writes, such as on a full disk, looking goes on."""
    try:
        services.keys.used(key_id)
    except Exception as error:  # whatever the database's driver raises
        structlog.get_logger().warning("key_use_not_noted", key_id=key_id, error=str(error))


def _refusal(path: str, error: Unauthenticated) -> Response:
    return problem(
        path, 401, error.code, error.message, headers={"WWW-Authenticate": 'Bearer realm="pgd"'}
    )


def _too_many(path: str, wait_s: float) -> Response:
    seconds = math.ceil(wait_s)
    detail = f"this key asks too often; ask again in {seconds} s"
    return problem(path, 429, RateLimited.code, detail, headers={"Retry-After": str(seconds)})
