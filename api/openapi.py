"""What the OpenAPI document says beyond what FastAPI finds itself: every error, as a problem."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from fastapi.routing import APIRoute

from api.errors import MEDIA_TYPE
from api.schemas import Problem

Responses = dict[int | str, dict[str, Any]]
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
            app.openapi_schema = document
        return app.openapi_schema

    app.openapi = describe  # type: ignore[method-assign]
