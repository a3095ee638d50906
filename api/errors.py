"""From error to HTTP: one table, and RFC 9457 `application/problem+json` for every error.

FastAPI's own 404, 405 and 422 speak the same way, and so does a defect of ours (500), which tells
nothing of the inside. `type` is a page under /problems that says what the code means.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from http import HTTPStatus
from typing import Any

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from fastapi.routing import iter_route_contexts
from starlette.exceptions import HTTPException

from api.suggestions import did_you_mean
from api.upload_errors import UPLOAD_STATUS
from pgd_core import errors

MEDIA_TYPE = "application/problem+json"
MOST_ITEMS = 100  # of `errors`: an answer shall not be a multiple of what was asked
Locations = Sequence[Mapping[str, Any]]


class KeyReused(errors.BadRequest):
    """An Idempotency-Key came again with another body."""

    code = "idempotency_key_reused"


class StillWorking(errors.Conflict):
    """The same request came before with this Idempotency-Key, and is not answered yet."""

    code = "still_working"


class DigestMismatch(errors.BadRequest):
    """What arrived is not what the digest announced."""

    code = "digest_mismatch"


class TooLarge(errors.BadRequest):
    """The body is over the server's limit."""

    code = "too_large"


class RateLimited(errors.PgdError):
    """The key asks too often; Retry-After says when it may again."""

    code = "rate_limited"


class StorageFull(errors.PgdError):
    """The server's disk has no room for it."""

    code = "storage_full"


class NotServing(errors.PgdError):
    """A part that the service needs does not answer."""

    code = "not_serving"


class TooSlow(errors.BadRequest):
    """The body did not arrive in time."""

    code = "too_slow"


class WrongMediaType(errors.BadRequest):
    """The body is of a kind that this address does not take."""

    code = "unsupported_media_type"


class Busy(errors.PgdError):
    """As many at once as the server does; Retry-After says when to ask again."""

    code = "busy"

    def __init__(self, message: str, again_after_s: int) -> None:
        super().__init__(message)
        self.headers = {"Retry-After": str(again_after_s)}


STATUS: dict[type[errors.PgdError], HTTPStatus] = {
    errors.PgdError: HTTPStatus.INTERNAL_SERVER_ERROR,
    errors.BadRequest: HTTPStatus.BAD_REQUEST,
    errors.InvalidSpec: HTTPStatus.UNPROCESSABLE_ENTITY,
    errors.NotFound: HTTPStatus.NOT_FOUND,
    errors.Unauthenticated: HTTPStatus.UNAUTHORIZED,
    errors.Forbidden: HTTPStatus.FORBIDDEN,
    errors.Conflict: HTTPStatus.CONFLICT,
    KeyReused: HTTPStatus.UNPROCESSABLE_ENTITY,
    DigestMismatch: HTTPStatus.BAD_REQUEST,
    TooLarge: HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    RateLimited: HTTPStatus.TOO_MANY_REQUESTS,
    StorageFull: HTTPStatus.INSUFFICIENT_STORAGE,
    NotServing: HTTPStatus.SERVICE_UNAVAILABLE,
    TooSlow: HTTPStatus.REQUEST_TIMEOUT,
    WrongMediaType: HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
    Busy: HTTPStatus.SERVICE_UNAVAILABLE,
    errors.PictureUnusable: HTTPStatus.UNPROCESSABLE_ENTITY,
    errors.PredictionFailed: HTTPStatus.SERVICE_UNAVAILABLE,
    errors.PredictionTimedOut: HTTPStatus.GATEWAY_TIMEOUT,
}

# Codes of errors that FastAPI raises itself, with what they mean.
FRAMEWORK_CODES: dict[int, tuple[str, str]] = {
    400: ("bad_request", errors.BadRequest.__doc__ or ""),
    404: ("not_found", "No such address."),
    405: ("method_not_allowed", "The address exists; it does not take this method."),
    413: ("too_large", TooLarge.__doc__ or ""),
    416: ("range_not_satisfiable", "The range lies outside the file."),
    422: ("invalid_request", "A field of the request is missing, unknown or impossible."),
    500: ("internal_error", "A defect of the service; its log knows more."),
}

STATUS |= UPLOAD_STATUS


def status_of(error: type[errors.PgdError]) -> HTTPStatus:
    """The status of the nearest class in the table."""
    return next(STATUS[base] for base in error.__mro__ if base in STATUS)


def problem(
    path: str,
    status: int,
    code: str,
    detail: str,
    *,
    items: Iterable[Mapping[str, Any]] = (),
    headers: Mapping[str, str] | None = None,
) -> JSONResponse:
    """An RFC 9457 answer about the request to `path`."""
    content: dict[str, Any] = {
        "type": f"/problems/{code}",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": detail,
        "instance": path,
        "code": code,
        "errors": list(items),
    }
    return JSONResponse(content, status, headers=dict(headers or {}), media_type=MEDIA_TYPE)


def install(app: FastAPI) -> None:
    """Make `app` answer every error as a problem."""
    app.add_exception_handler(errors.PgdError, _ours)
    app.add_exception_handler(errors.StorageUnavailable, _storage)
    app.add_exception_handler(RequestValidationError, _validation)
    app.add_exception_handler(HTTPException, _framework)
    app.add_exception_handler(Exception, _defect)


def _ours(request: Request, error: Exception) -> Response:
    assert isinstance(error, errors.PgdError)
    status = status_of(type(error))
    if status == HTTPStatus.INTERNAL_SERVER_ERROR:
        return _defect(request, error)
    items = [{"pointer": p.pointer, "detail": p.message} for p in error.problems]
    headers = getattr(error, "headers", None)  # of some, to be sent along
    return problem(
        request.url.path, status, error.code, error.message, items=items, headers=headers
    )


def _storage(request: Request, error: Exception) -> Response:
    structlog.get_logger().warning("storage_unavailable", error=str(error))
    detail = "the file storage does not answer; try again in a while"
    headers = {"Retry-After": "10"}
    return problem(request.url.path, 503, NotServing.code, detail, headers=headers)


def _validation(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    found: Locations = error.errors()
    path = request.url.path
    if any(item["loc"][0] == "path" for item in found):
        return problem(path, 404, "not_found", f"{path} names nothing here")
    if any(item["type"] == "json_invalid" for item in found):
        return problem(path, 400, "bad_request", f"the body is not JSON: {_why(found[0])}")
    items = [_item(item, error.body) for item in found[:MOST_ITEMS]]
    detail = "; ".join(_sentence(item) for item in items[:3])
    if len(found) > 3:
        detail += f"; and {len(found) - 3} more, see errors"
    return problem(path, 422, "invalid_request", detail, items=items)


def _framework(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    code = FRAMEWORK_CODES.get(error.status_code, ("error", ""))[0]
    path, method = request.url.path, request.method
    detail = {
        404: f"no such address: {path}",
        405: f"{path} does not take {method}",
    }.get(error.status_code, str(error.detail))
    headers = {"Allow": _methods_of(request)} if error.status_code == 405 else error.headers
    return problem(path, error.status_code, code, detail, headers=headers)


def _methods_of(request: Request) -> str:
    """What the address takes: the router names the methods of the first of its routes alone."""
    found: dict[str, set[str]] = defaultdict(set)
    for context in iter_route_contexts(request.app.routes):
        if context.path_regex.match(request.url.path):
            found[str(context.path_format)] |= context.methods or set()
    # /v1/jobs/1:cancel also looks like a job whose id is "1:cancel": the longer one is meant.
    return ", ".join(sorted(found[max(found, key=len, default="")]))


def _defect(request: Request, error: Exception) -> Response:
    structlog.get_logger().error("defect", path=request.url.path, exc_info=error)
    detail = "the service failed on this request; its log knows more"
    return problem(request.url.path, 500, "internal_error", detail)


def _item(item: Mapping[str, Any], body: object) -> dict[str, str]:
    """Where a field's problem is, and what it is."""
    where, *rest = item["loc"]
    detail = item["msg"] + did_you_mean(item)
    if where == "body":
        pointer = json_pointer(rest, body, missing=item["type"] == "missing")
        return {"pointer": pointer, "detail": detail}
    return {"parameter": str(rest[-1]) if rest else "", "in": where, "detail": detail}


def _sentence(item: Mapping[str, str]) -> str:
    where = item.get("pointer", item.get("parameter", "")) or "the body"
    return f"{where}: {item['detail']}"


def _why(item: Mapping[str, Any]) -> str:
    return str(item.get("ctx", {}).get("error", item["msg"]))


def json_pointer(location: Sequence[str | int], body: object, *, missing: bool) -> str:
    """Pydantic's location as a JSON pointer into `body` (RFC 6901).

    A location also names the tags of unions, which are not in the body: what `body` does not have
    is left out, but for a missing field's own name, which comes last.
    """
    parts: list[str] = []
    here: Any = body
    for index, key in enumerate(location):
        if _holds(here, key):
            here = here[key]
        elif not (missing and index == len(location) - 1):
            continue
        parts.append(str(key).replace("~", "~0").replace("/", "~1"))
    whole = "".join(f"/{part}" for part in parts)
    return whole.encode("utf-8", "replace").decode()  # a key may hold half a surrogate pair


def _holds(value: object, key: str | int) -> bool:
    if isinstance(value, list):
        return isinstance(key, int) and key < len(value)
    return isinstance(value, Mapping) and key in value
