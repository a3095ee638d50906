"""The API keys that asked just now: not each of their requests asks the database again.

A key that is revoked through this process opens nothing from that moment on; another process may
let it in for so many seconds more.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from datetime import datetime

from pgd_core.jobs.keys import Key, Role, sha256_of
from pgd_core.jobs.protocols import KeyStore

REMEMBERED_S = 5.0
MOST = 10_000


class KnownKeys:
    """A `KeyStore` that remembers whose secret it was, for a few seconds."""

    def __init__(self, store: KeyStore, clock: Callable[[], float] = time.monotonic) -> None:
        self._store, self._clock = store, clock
        self._known: dict[str, tuple[Key, float]] = {}  # by the secret's hash; until when

    def remembered(self, secret: str) -> Key | None:
        """The key of this secret, if it was good just now."""
        key, until = self._known.get(sha256_of(secret), (None, 0.0))
        return key if self._clock() < until else None

    def holder(self, secret: str) -> Key:
        """As the store says it now."""
        until = self._clock() + REMEMBERED_S  # from before the look, lest a revoke be missed
        known = self._known
        key = self._store.holder(secret)
        if len(known) >= MOST:
            known.clear()
        known[sha256_of(secret)] = (key, until)  # into what a revoke has thrown away meanwhile
        return key

    def revoke(self, key_id: str) -> Key:
        """Forgets them all."""
        try:
            return self._store.revoke(key_id)
        finally:
            self._known = {}

    def create(
        self, name: str, team: str, role: Role, *, expires_at: datetime | None = None
    ) -> tuple[Key, str]:
        return self._store.create(name, team, role, expires_at=expires_at)

    def used(self, key_id: str) -> None:
        self._store.used(key_id)

    def key(self, key_id: str) -> Key:
        return self._store.key(key_id)

    def keys(
        self, *, team: str | None = None, after: str | None = None, limit: int = 50
    ) -> Sequence[Key]:
        return self._store.keys(team=team, after=after, limit=limit)

    def has_operator(self) -> bool:
        return self._store.has_operator()
