"""Which of two forms of an answer a caller asks for."""

from __future__ import annotations

from starlette.requests import Request


def accepts(request: Request, media_type: str, *, rather_than: str) -> bool:
    """Whether Accept names `media_type` itself, and with at least the weight of the usual form
    where it names that too; a wildcard asks for nothing in particular."""
    weights = dict(_weighed(part) for part in request.headers.get("accept", "").split(","))
    asked = weights.get(media_type, 0.0)
    return asked > 0 and asked >= weights.get(rather_than, 0.0)


def _weighed(part: str) -> tuple[str, float]:
    """A media range and its q (RFC 9110, 12.5.1); one that is no number counts as 0."""
    media_range, *parameters = (piece.strip().lower() for piece in part.split(";"))
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip() == "q":
            try:
                return media_range, float(value)
            except ValueError:
                return media_range, 0.0
    return media_range, 1.0
