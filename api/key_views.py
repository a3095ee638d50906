"""API keys, callers and audit events: what is taken and what is shown."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from pydantic import AwareDatetime, BaseModel, Field, field_validator

from api.requests import Name, PageQuery, PoolOrTeam
from api.schemas import View
from pgd_core.jobs.keys import ALL_TEAMS, Role
from pgd_core.jobs.spec import Strict

# What histories say where no key's holder did something.
_TAKEN_NAMES = frozenset({"api", "reconciler", "scheduler", "study driver", "somebody"})


class NewKey(Strict):
    """An API key to be made."""

    name: Name = Field(description="What the history of jobs will say of its holder.")
    role: Role = Field(description="Each may do what the one before it may.")
    team: PoolOrTeam | None = Field(None, description="Default: the caller's own.")
    all_teams: bool = Field(
        False, description="An operator's, who sees and may do everything: with role admin only."
    )
    expires_at: AwareDatetime | None = Field(None, description="Default: never.")

    @field_validator("name")
    @classmethod
    def _not_taken(cls, name: str) -> str:
        if name.strip().lower() in _TAKEN_NAMES or not name.strip():
            raise ValueError(f"{name!r} is what histories call the service's own parts")
        return name

    @field_validator("expires_at")
    @classmethod
    def _in_utc(cls, at: datetime | None) -> datetime | None:
        try:
            return None if at is None else at.astimezone(UTC)
        except OverflowError as error:
            raise ValueError("in UTC this lies outside the years 1 to 9999") from error


class KeyView(View):
    """An API key, without its secret."""

    id: str
    name: str
    team: str = Field(description=f"'{ALL_TEAMS}': an operator's.")
    role: Role
    prefix: str = Field(description="What its secret begins with.")
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None
    last_used_at: datetime | None = Field(description="To the minute.")


class MadeKey(KeyView):
    """A new API key; its secret is shown this once."""

    secret: str = Field(description="Send it as `Authorization: Bearer SECRET`.")


class MeView(BaseModel):
    """The caller."""

    key: KeyView
    operator: bool = Field(description="Sees and may do everything.")


class AuditQuery(PageQuery):
    """Which audit events."""

    team: PoolOrTeam | None = Field(None, description="Default: all that the caller may see.")


class AuditView(View):
    """Who did what, through the API."""

    id: str
    at: datetime
    key_id: str
    key_name: str
    team: str = Field(description=f"Whose thing it was; '{ALL_TEAMS}': nobody's alone.")
    action: str = Field(description="The operation's id.", examples=["submit_job"])
    thing: str = Field(examples=["jobs/01990a6e-6c1f-7a52-b1a3-2f3f3c6d9a10"])
    details: dict[str, Any]
