"""The record of what was done through the API: `jobs.protocols.AuditStore`. It only grows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Engine, insert, select
from uuid_utils import uuid7

from pgd_core.jobs.keys import AuditEvent
from pgd_core.store.access_tables import AuditRow
from pgd_core.store.engine import reading, writing
from pgd_core.store.rows import storable, values_of
from pgd_core.store.times import database_now


class SqlAuditStore:
    """Implements `AuditStore`."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def note(
        self,
        *,
        key_id: str,
        key_name: str,
        team: str,
        action: str,
        thing: str,
        details: Mapping[str, Any],
    ) -> None:
        line = insert(AuditRow).values(
            id=str(uuid7()),
            at=database_now(),
            key_id=key_id,
            key_name=key_name,
            team=team,
            action=action,
            thing=thing,
            details=storable(dict(details)),
        )
        with writing(self._engine) as session:
            session.execute(line)

    def events(
        self, *, team: str | None = None, after: str | None = None, limit: int = 50
    ) -> Sequence[AuditEvent]:
        query = select(AuditRow).order_by(AuditRow.id.desc()).limit(limit)
        if team is not None:
            query = query.where(AuditRow.team == team)
        if after is not None:
            query = query.where(AuditRow.id < after)
        with reading(self._engine) as session:
            return [AuditEvent(**values_of(row, AuditEvent)) for row in session.scalars(query)]
