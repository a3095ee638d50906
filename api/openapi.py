"""What the OpenAPI document says beyond what FastAPI finds itself: every error, as a problem, and
who may call what (`x-role`)."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from fastapi import FastAPI
from fastapi.dependencies.models import Dependant
from fastapi.openapi.utils import get_openapi
from fastapi.routing import APIRoute, iter_route_contexts

from api.caller import Needs, Open
from api.errors import MEDIA_TYPE
from api.schemas import Problem

Responses = dict[int | str, dict[str, Any]]
_BEARER = {
    "type": "http",
    "scheme": "bearer",
    "bearerFormat": "pgd_…",
    "description": "An API key; `POST /v1/keys` makes one. `x-role` is the least role it needs.",
}
_REFERENCE = "#/components/schemas/{model}"


def problems(*statuses: int) -> Responses:
    """The `responses` of a route that may answer these errors, beside 422 and 500."""
    schema = {"$ref": _REFERENCE.format(model="Problem")}
    return {
        status: {
            "description": HTTPStatus(status).phrase,
            "content": {MEDIA_TYPE: {"schema": schema}},
        }
        for status in sorted({*statuses, 422, 500})
    }


def operation_id(route: APIRoute) -> str:
    """A route's operationId: its function's name."""
    return route.name


def install(app: FastAPI) -> None:
    """Make `app` describe its errors as problems."""

    def describe() -> dict[str, Any]:
        if app.openapi_schema is None:
            document = get_openapi(
                title=app.title,
                version=app.version,
                summary=app.summary,
                description=app.description,
                routes=app.routes,
                tags=app.openapi_tags,
            )
            models = document.setdefault("components", {}).setdefault("schemas", {})
            models["Problem"] = Problem.model_json_schema()
            for unused in ("HTTPValidationError", "ValidationError"):
                models.pop(unused, None)
            _describe_roles(app, document)
            app.openapi_schema = document
        return app.openapi_schema

    app.openapi = describe  # type: ignore[method-assign]


def rules_of(app: FastAPI) -> dict[tuple[str, str], str | None]:
    """By path and method, the least that each route asks of a caller; None: it forgot to say."""
    return {
        (str(context.path_format), method.lower()): _rule(dependant)
        for context in iter_route_contexts(app.routes)
        for method in context.methods or ()
        if isinstance(dependant := getattr(context, "dependant", None), Dependant)
    }


def _rule(dependant: Dependant) -> str | None:
    if isinstance(dependant.call, Needs | Open):
        return dependant.call.rule
    found = (_rule(inner) for inner in dependant.dependencies)
    return next((rule for rule in found if rule is not None), None)


def _describe_roles(app: FastAPI, document: dict[str, Any]) -> None:
    """Who may call what; and that a key may be refused, or be too fast, anywhere but in public."""
    document["components"].setdefault("securitySchemes", {})["bearer"] = _BEARER
    for (path, method), rule in rules_of(app).items():
        operation = document["paths"].get(path, {}).get(method)
        if operation is None or rule is None:
            continue
        operation["x-role"] = rule
        operation["security"] = [] if rule == "public" else [{"bearer": []}]
        if rule != "public":
            refusals = problems(401, 403, 429)
            operation["responses"] |= {
                str(status): refusals[status]
                for status in (401, 403, 429)
                if str(status) not in operation["responses"]
            }
