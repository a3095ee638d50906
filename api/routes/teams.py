"""Teams: their weights and limits."""

from __future__ import annotations

import re
from typing import Annotated

from fastapi import APIRouter, Body
from fastapi import Path as UrlPart

from api.caller import Operator, Viewer
from api.examples import TEAM_EXAMPLES
from api.openapi import problems
from api.queue_views import TeamView
from api.requests import NAME, TeamSettings
from api.schemas import Page
from api.services import ServicesDep
from pgd_core.errors import InvalidSpec

router = APIRouter(prefix="/v1/teams", tags=["teams"])


@router.get("", responses=problems())
def list_teams(services: ServicesDep, caller: Viewer) -> Page[TeamView]:
    """The caller's team, or for an operator all by name; GET /v1/queue says how they stand."""
    items = [TeamView.of(team) for team in services.teams.teams() if caller.sees(team.name)]
    return Page(items=items, has_more=False)


@router.put("/{name}", responses=problems(400, 403, 413))
def put_team(
    name: Annotated[str, UrlPart(json_schema_extra={"pattern": NAME})],
    settings: Annotated[TeamSettings, Body(openapi_examples=TEAM_EXAMPLES)],
    services: ServicesDep,
    caller: Operator,
) -> TeamView:
    """Make a team, or change its weight and limits."""
    if not re.fullmatch(NAME, name):
        raise InvalidSpec(
            f"{name!r} cannot be a team's name: at most 63 small letters, digits and hyphens, "
            "no hyphen first"
        )
    caller.trail.team = name
    caller.trail.details |= settings.model_dump()
    return TeamView.of(services.teams.put(name, **settings.model_dump()))
