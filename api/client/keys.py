"""API keys and audit events from Python."""

from __future__ import annotations

from datetime import datetime

from api.client.wire import Wire
from api.key_views import AuditView, KeyView, MadeKey, MeView
from api.schemas import Page
from pgd_core.jobs.keys import Role


class KeyCalls(Wire):
    """What is asked of keys."""

    def me(self) -> MeView:
        """The key that this client sends."""
        return self._get("/v1/me", MeView)

    def add_key(
        self,
        name: str,
        role: Role | str,
        *,
        team: str | None = None,
        all_teams: bool = False,
        expires_at: datetime | None = None,
    ) -> MadeKey:
        """Make a key; its secret is shown this once."""
        body = {
            "name": name,
            "role": role,
            "team": team,
            "all_teams": all_teams,
            "expires_at": None if expires_at is None else expires_at.isoformat(),
        }
        return self._post("/v1/keys", MadeKey, body)

    def keys(
        self, *, team: str | None = None, after: str | None = None, limit: int = 50
    ) -> Page[KeyView]:
        """Keys, newest first."""
        return self._get("/v1/keys", Page[KeyView], team=team, after=after, limit=limit)

    def revoke_key(self, key_id: str) -> KeyView:
        """Revoke a key: from now on it opens nothing."""
        return self._ask("DELETE", f"/v1/keys/{key_id}", KeyView)

    def audit_events(
        self, *, team: str | None = None, after: str | None = None, limit: int = 50
    ) -> Page[AuditView]:
        """Who did what, newest first."""
        return self._get("/v1/audit", Page[AuditView], team=team, after=after, limit=limit)
