"""API keys: make one, see them, revoke one."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

from fastapi import APIRouter, Body, Query, Response

from api.caller import Admin, Caller
from api.examples import KEY_EXAMPLES
from api.key_views import AuditQuery, KeyView, MadeKey, NewKey
from api.openapi import problems
from api.requests import IdInUrl
from api.schemas import Page, page_of
from api.services import Services, ServicesDep
from api.teams import check_team
from api.visible import visible_key
from pgd_core.errors import FieldProblem, Forbidden, InvalidSpec
from pgd_core.jobs.keys import ALL_TEAMS, Role

router = APIRouter(prefix="/v1/keys", tags=["keys"])


@router.post("", status_code=201, responses=problems(400, 403, 413))
def add_key(
    asked: Annotated[NewKey, Body(openapi_examples=KEY_EXAMPLES)],
    services: ServicesDep,
    caller: Admin,
    response: Response,
) -> MadeKey:
    """Make an API key. Its secret is in this answer and nowhere else, ever."""
    if asked.expires_at is not None and asked.expires_at <= datetime.now(UTC):
        raise _impossible("/expires_at", "expires_at is past")
    team = _team_of(asked, services, caller)
    key, secret = services.keys.create(asked.name, team, asked.role, expires_at=asked.expires_at)
    caller.trail.details |= {"name": key.name, "role": key.role, "team": key.team}
    response.headers["Location"] = f"/v1/keys/{key.id}"
    response.headers["Cache-Control"] = "no-store"
    return MadeKey(**KeyView.of(key).model_dump(), secret=secret)


@router.get("", responses=problems(403))
def list_keys(
    query: Annotated[AuditQuery, Query()], services: ServicesDep, caller: Admin
) -> Page[KeyView]:
    """Keys, newest first, revoked and expired ones among them."""
    team = caller.lists_of(query.team)
    found = services.keys.keys(team=team, after=query.after, limit=query.limit + 1)
    items = [KeyView.of(key) for key in found[: query.limit]]
    return page_of(items, has_more=len(found) > query.limit)


@router.get("/{key_id}", responses=problems(403, 404))
def get_key(key_id: IdInUrl, services: ServicesDep, caller: Admin) -> KeyView:
    """A key: whose it is, what it may do, when it was last used."""
    return KeyView.of(visible_key(services, caller, key_id))


@router.delete("/{key_id}", responses=problems(403, 404, 409))
def revoke_key(key_id: IdInUrl, services: ServicesDep, caller: Admin) -> KeyView:
    """Revoke a key: from now on it opens nothing. 409 for the last operator's."""
    key = visible_key(services, caller, key_id)
    caller.trail.details |= {"name": key.name, "role": key.role}
    return KeyView.of(services.keys.revoke(key.id))


def _team_of(asked: NewKey, services: Services, caller: Caller) -> str:
    if not asked.all_teams:
        team = caller.team_of(asked.team)
        check_team(services.teams, team, "body")
        return team
    if not caller.key.operator:
        raise Forbidden("only an operator makes keys for all teams")
    if asked.role is not Role.ADMIN or asked.team is not None:
        raise _impossible("/all_teams", "a key for all teams has role admin, and no team")
    return ALL_TEAMS


def _impossible(pointer: str, message: str) -> InvalidSpec:
    return InvalidSpec(message, (FieldProblem(pointer, message),))
