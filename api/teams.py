"""A team that a request names."""

from __future__ import annotations

from typing import Literal

from fastapi.exceptions import RequestValidationError

from pgd_core.jobs.protocols import TeamStore


def check_team(teams: TeamStore, name: str, where: Literal["query", "body"]) -> None:
    """Refuse the request's field `team` unless there is such a team; the refusal names all."""
    known = [team.name for team in teams.teams()]
    if name not in known:
        why = f"there is no team {name!r}; there are {', '.join(known)}"
        problem = {"type": "unknown_team", "loc": (where, "team"), "msg": why, "input": name}
        raise RequestValidationError([problem], body={"team": name})
