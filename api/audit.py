"""Every request that changed something leaves an audit event, whatever route it went to.

That is every PUT, PATCH and DELETE that succeeded, and every POST answered with 201, 202 or 204:
a POST that only looks, such as a check of a spec, answers 200. The pieces of a resumable upload
leave one event together, when it is whole. The event is stored before the answer is sent; where it
cannot be, the answer is an error.
"""

from __future__ import annotations

from fastapi.concurrency import run_in_threadpool
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.caller import Caller
from api.services import Services

_LOOKING = ("GET", "HEAD", "OPTIONS")


class Audit:
    """Stands behind the door: it knows who asks."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        caller = scope.get("state", {}).get("caller")
        if not isinstance(caller, Caller) or scope["method"] in _LOOKING:
            await self.app(scope, receive, send)
            return
        services: Services = scope["app"].state.services

        async def note_and_send(message: Message) -> None:
            changed = message["type"] == "http.response.start" and _changed(
                scope, message["status"]
            )
            if changed and not caller.trail.is_quiet:
                await run_in_threadpool(
                    _note, services, caller, scope, Headers(raw=message["headers"])
                )
            await send(message)

        await self.app(scope, receive, note_and_send)


def _changed(scope: Scope, status: int) -> bool:
    if scope["state"].get("replayed"):  # an answer that was kept: it changed nothing this time
        return False
    return status < 300 and (scope["method"] != "POST" or status != 200)


def _note(services: Services, caller: Caller, scope: Scope, headers: Headers) -> None:
    thing = headers.get("location") or scope["path"].rpartition(":")[0] or scope["path"]
    action, thing = caller.trail.event or (scope["route"].name, thing)
    services.audit.note(
        key_id=caller.key.id,
        key_name=caller.name,
        team=caller.trail.team,
        action=action,
        thing=thing.removeprefix("/v1/")[:500],
        details=caller.trail.details,
    )
