"""Who asks, and the least that a route asks of them: each route names one of these as a parameter.

    caller: Viewer      looks
    caller: Submitter   adds, submits, changes
    caller: Admin       the team's keys and audit events
    caller: Operator    what is nobody's alone: teams, workers
    PUBLIC              among its `dependencies`: needs no key

`api.door` has found the caller by the key before any of this is asked.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Any

from fastapi import Depends, Request

from pgd_core.errors import Forbidden, Unauthenticated
from pgd_core.jobs.keys import Key, Role
from pgd_core.jobs.teams import DEFAULT_TEAM


@dataclass
class Trail:
    """What the audit event of this request will say beside who did what."""

    team: str
    details: dict[str, Any] = field(default_factory=dict)
    is_quiet: bool = False  # a step of something that leaves one event at its end
    event: tuple[str, str] | None = None  # action and thing, where they are not the request's


@dataclass(frozen=True)
class Caller:
    """The holder of an API key."""

    key: Key
    trail: Trail

    @classmethod
    def of(cls, key: Key) -> Caller:
        return cls(key, Trail(key.team))

    @property
    def name(self) -> str:
        """What histories say of them."""
        return self.key.name

    @property
    def only_team(self) -> str | None:
        """What lists are filtered by; None: everything."""
        return None if self.key.operator else self.key.team

    def sees(self, team: str) -> bool:
        """Whether things of this team exist for them."""
        return self.key.operator or team == self.key.team

    def team_of(self, asked: str | None) -> str:
        """The team that they act for: their own unless an operator asks for another."""
        team = asked or (DEFAULT_TEAM if self.key.operator else self.key.team)
        if not self.sees(team):
            raise Forbidden(
                f"API key {self.name!r} is of team {self.key.team!r} and cannot act for {team!r}"
            )
        self.trail.team = team
        return team

    def lists_of(self, asked: str | None) -> str | None:
        """The team that a list is of; None: all."""
        return self.only_team if asked is None else self.team_of(asked)


class Needs:
    """Lets a caller of this role, or a higher one, through."""

    def __init__(self, least: Role, *, operator: bool = False) -> None:
        self.least, self.operator = least, operator
        self.rule = "operator" if operator else str(least)

    async def __call__(self, request: Request) -> Caller:
        caller = getattr(request.state, "caller", None)
        if not isinstance(caller, Caller):
            raise Unauthenticated("this needs an API key")
        if self.operator and not caller.key.operator:
            raise Forbidden("only an operator may do this: a key of role admin for all teams")
        if not caller.key.role.includes(self.least):
            raise Forbidden(
                f"this needs a key of role {self.least}; {caller.name!r} is of role "
                f"{caller.key.role}"
            )
        return caller


class Open:
    """Lets everybody through."""

    rule = "public"

    async def __call__(self) -> None:
        return None


Viewer = Annotated[Caller, Depends(Needs(Role.VIEWER))]
Submitter = Annotated[Caller, Depends(Needs(Role.SUBMITTER))]
Admin = Annotated[Caller, Depends(Needs(Role.ADMIN))]
Operator = Annotated[Caller, Depends(Needs(Role.ADMIN, operator=True))]
PUBLIC = Depends(Open())
