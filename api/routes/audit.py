"""Audit events: who changed what through the API."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query

from api.caller import Admin
from api.key_views import AuditQuery, AuditView
from api.openapi import problems
from api.schemas import Page, page_of
from api.services import ServicesDep

router = APIRouter(prefix="/v1/audit", tags=["keys"])


@router.get("", responses=problems(403))
def list_audit_events(
    query: Annotated[AuditQuery, Query()], services: ServicesDep, caller: Admin
) -> Page[AuditView]:
    """What was done to the team's things, newest first; an operator sees every team's."""
    team = caller.lists_of(query.team)
    found = services.audit.events(team=team, after=query.after, limit=query.limit + 1)
    items = [AuditView.of(event) for event in found[: query.limit]]
    return page_of(items, has_more=len(found) > query.limit)
