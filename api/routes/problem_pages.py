"""What each problem's `type` leads to: the code in words."""

from __future__ import annotations

from fastapi import APIRouter
from fastapi.responses import PlainTextResponse

from api.caller import PUBLIC
from api.errors import FRAMEWORK_CODES, status_of
from api.openapi import problems
from pgd_core.errors import NotFound, PgdError

router = APIRouter(tags=["problems"])


def meanings() -> dict[str, str]:
    """Every code that a problem can have, with what it means."""
    framework = {code: f"{status} {text}" for status, (code, text) in FRAMEWORK_CODES.items()}
    ours = {cls.code: f"{int(status_of(cls))} {cls.__doc__ or ''}" for cls in _tree(PgdError)}
    return framework | {code: text for code, text in ours.items() if code != PgdError.code}


@router.get(
    "/problems/{code}",
    dependencies=[PUBLIC],
    response_class=PlainTextResponse,
    responses=problems(404),
)
def explain_problem(code: str) -> str:
    """What a problem's code means."""
    try:
        return f"{code}: {meanings()[code]}\n"
    except KeyError:
        raise NotFound(f"no problem has the code {code!r}") from None


def _tree(root: type[PgdError]) -> list[type[PgdError]]:
    return [root, *(leaf for child in root.__subclasses__() for leaf in _tree(child))]
