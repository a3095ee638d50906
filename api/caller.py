"""Who asks: what a job's history says of every request."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends


def caller_of() -> str:
    """The caller's name; there is no login yet, so that all are the same one."""
    return "api"


Caller = Annotated[str, Depends(caller_of)]
