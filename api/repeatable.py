"""Requests that may be sent again: `APIRouter(route_class=Repeatable)` gives every POST of a router
an `Idempotency-Key`.

For a day the same key of the same caller with the same request is answered as it was the first
time, by `Idempotent-Replayed: true`; another request with it is refused (422), and so is the same
one while the first is being worked on (409). What was refused or failed is not kept.

Not for answers that hold a secret, which would be kept, nor for uploads, whose bodies are not read
at once. A job's submission heeds the key itself, in one transaction with the job; a route that
first looks for something else, which may be deleted later, is repeatable as well. What names
`validate_only` is left to the submission: a check uses no key up.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute

from api.caller import Caller
from api.errors import KeyReused, StillWorking
from api.openapi import problems
from api.services import services_of
from pgd_core.jobs.answers import Answer, AnswerStore, Known

HEADER = "Idempotency-Key"
REPLAYED = "Idempotent-Replayed"
KEY_PATTERN = r"^[\x21-\x7e]{1,200}$"
PARAMETER = {
    "name": HEADER,
    "in": "header",
    "required": False,
    "schema": {"type": "string", "pattern": KEY_PATTERN},
    "description": "For a day the same key and request are answered as the first time; another "
    "request with it is refused.",
}
Handler = Callable[[Request], Coroutine[Any, Any, Response]]


class Repeatable(APIRoute):
    """A route that heeds `Idempotency-Key` where it is a POST."""

    def __init__(self, path: str, endpoint: Callable[..., Any], **options: Any) -> None:
        if "POST" in (options.get("methods") or ()):
            extra = options.get("openapi_extra") or {}
            named = [*extra.get("parameters", ()), PARAMETER]
            options["openapi_extra"] = {**extra, "parameters": named}
            options["responses"] = {**problems(409), **(options.get("responses") or {})}
        super().__init__(path, endpoint, **options)

    def get_route_handler(self) -> Handler:
        handle: Handler = super().get_route_handler()

        async def once(request: Request) -> Response:
            sent, caller = request.headers.get(HEADER), getattr(request.state, "caller", None)
            if request.method != "POST" or sent is None or not isinstance(caller, Caller):
                return await handle(request)
            if "validate_only" in request.query_params:
                return await handle(request)
            if not re.fullmatch(KEY_PATTERN, sent):
                raise _impossible(sent)
            key = hashlib.sha256(f"{caller.key.id}\n{sent}".encode()).hexdigest()
            return await _once(key, request, handle)

        return once


async def _once(key: str, request: Request, handle: Handler) -> Response:
    answers = (await services_of(request)).answers
    sha256 = await _sha256(request)
    known = await run_in_threadpool(answers.begin, key, sha256)
    if known is not None:
        request.state.replayed = True  # nothing is changed: no audit event
        return _again(known, sha256)
    try:
        response = await handle(request)
    except BaseException:
        await run_in_threadpool(answers.forget, key)
        raise
    await _keep(answers, key, response)
    return response


async def _sha256(request: Request) -> str:
    """Of all that is asked for."""
    head = json.dumps([request.method, request.url.path, request.url.query])
    return hashlib.sha256(head.encode() + b"\n" + await request.body()).hexdigest()


def _again(known: Known, sha256: str) -> Response:
    if known.request_sha256 != sha256:
        raise KeyReused("this idempotency key was used for another request; send a new key")
    if known.answer is None:
        raise StillWorking("the same request with this idempotency key is still being worked on")
    headers = {REPLAYED: "true"}
    if known.answer.location:
        headers["Location"] = known.answer.location
    body, status = known.answer.body, known.answer.status
    return Response(body, status, headers, media_type="application/json" if body else None)


async def _keep(answers: AnswerStore, key: str, response: Response) -> None:
    if response.status_code >= 400:
        await run_in_threadpool(answers.forget, key)
        return
    body = bytes(response.body).decode()
    answer = Answer(response.status_code, response.headers.get("location", ""), body)
    await run_in_threadpool(answers.finish, key, answer)


def _impossible(sent: str) -> RequestValidationError:
    why = f"must be 1 to 200 printable characters without spaces ({KEY_PATTERN})"
    problem = {"type": "string_pattern", "loc": ("header", HEADER), "msg": why, "input": sent}
    return RequestValidationError([problem])
