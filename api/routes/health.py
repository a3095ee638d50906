"""Whether the process lives, and whether the service can serve."""

from __future__ import annotations

import structlog
from fastapi import APIRouter

from api.caller import PUBLIC
from api.errors import NotServing
from api.openapi import problems
from api.schemas import Health
from api.services import ServicesDep
from pgd_core.errors import FieldProblem

router = APIRouter(tags=["health"])


@router.get("/livez", dependencies=[PUBLIC])
async def livez() -> Health:
    """The process answers; nothing else is looked at."""
    return Health(status="alive")


@router.get("/readyz", dependencies=[PUBLIC], responses=problems(503))
def readyz(services: ServicesDep) -> Health:
    """Whether every part answers. Jobs are accepted while Redis is down, and wait."""
    found: dict[str, str] = {}
    failed: list[FieldProblem] = []
    for name, check in services.checks.items():
        try:
            found[name] = check()
        except Exception as error:  # whatever a client library raises
            structlog.get_logger().warning("not_ready", check=name, error=str(error))
            failed.append(FieldProblem(f"/checks/{name}", f"{name} failed: {type(error).__name__}"))
    if failed:
        raise NotServing("; ".join(p.message for p in failed), tuple(failed))
    return Health(status="ready", checks=found)
