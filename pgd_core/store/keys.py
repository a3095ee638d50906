"""API keys in SQL: `jobs.protocols.KeyStore`."""

from __future__ import annotations

import hmac
from collections.abc import Sequence
from datetime import datetime, timedelta

from sqlalchemy import Engine, func, or_, select, update
from sqlalchemy.orm import Session
from sqlalchemy.sql.elements import ColumnElement
from uuid_utils import uuid7

from pgd_core.errors import Conflict, NotFound, Unauthenticated
from pgd_core.jobs.keys import ALL_TEAMS, Key, Role, new_secret, prefix_of, sha256_of
from pgd_core.store.access_tables import KeyRow
from pgd_core.store.engine import reading, writing
from pgd_core.store.rows import values_of
from pgd_core.store.times import database_now

_NOTED_EVERY = timedelta(minutes=1)


class SqlKeyStore:
    """Implements `KeyStore`; see there what each method promises."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def create(
        self, name: str, team: str, role: Role, *, expires_at: datetime | None = None
    ) -> tuple[Key, str]:
        secret = new_secret()
        row = KeyRow(
            id=str(uuid7()),
            name=name,
            team=team,
            role=role,
            prefix=prefix_of(secret),
            sha256=sha256_of(secret),
            created_at=database_now(),
            expires_at=expires_at,
        )
        with writing(self._engine) as session:
            session.add(row)
            session.flush()
            return _key_of(row), secret

    def holder(self, secret: str) -> Key:
        expired = func.coalesce(KeyRow.expires_at <= database_now(), False)
        query = select(KeyRow, expired).where(KeyRow.prefix == prefix_of(secret))
        with reading(self._engine) as session:
            found = session.execute(query).one_or_none()
            stored = found[0].sha256 if found is not None else ""
            if found is None or not hmac.compare_digest(stored, sha256_of(secret)):
                raise Unauthenticated("there is no such API key; it may have been mistyped or cut")
            key = _key_of(found[0])
        if key.revoked_at is not None:
            raise Unauthenticated(f"API key {key.name!r} was revoked; ask for a new one")
        if found[1]:
            raise Unauthenticated(f"API key {key.name!r} has expired; ask for a new one")
        return key

    def used(self, key_id: str) -> None:
        unnoted = or_(
            KeyRow.last_used_at.is_(None), KeyRow.last_used_at < database_now(-_NOTED_EVERY)
        )
        note = update(KeyRow).where(KeyRow.id == key_id, unnoted)
        with writing(self._engine) as session:
            session.execute(note.values(last_used_at=database_now()))

    def key(self, key_id: str) -> Key:
        with reading(self._engine) as session:
            return _key_of(_existing(session, key_id))

    def keys(
        self, *, team: str | None = None, after: str | None = None, limit: int = 50
    ) -> Sequence[Key]:
        query = select(KeyRow).order_by(KeyRow.id.desc()).limit(limit)
        if team is not None:
            query = query.where(KeyRow.team == team)
        if after is not None:
            query = query.where(KeyRow.id < after)
        with reading(self._engine) as session:
            return [_key_of(row) for row in session.scalars(query)]

    def revoke(self, key_id: str) -> Key:
        with writing(self._engine) as session:
            # Held together, so that of the last two not each takes the other for the last.
            operators = select(KeyRow.id).where(*_OPERATORS).order_by(KeyRow.id).with_for_update()
            if list(session.scalars(operators)) == [key_id]:
                raise Conflict(
                    f"key {key_id} is the last operator's: without it nobody could make keys; make "
                    "another one first"
                )
            row = _existing(session, key_id)
            if row.revoked_at is None:
                row.revoked_at = database_now()
                session.flush()
                session.refresh(row)
            return _key_of(row)

    def has_operator(self) -> bool:
        with reading(self._engine) as session:
            return session.scalar(select(KeyRow.id).where(*_OPERATORS).limit(1)) is not None


_OPERATORS: tuple[ColumnElement[bool], ...] = (
    KeyRow.team == ALL_TEAMS,
    KeyRow.role == Role.ADMIN,
    KeyRow.revoked_at.is_(None),
    or_(KeyRow.expires_at.is_(None), KeyRow.expires_at > database_now()),
)


def _existing(session: Session, key_id: str) -> KeyRow:
    row = session.get(KeyRow, key_id)
    if row is None:
        raise NotFound(f"no key {key_id}")
    return row


def _key_of(row: KeyRow) -> Key:
    return Key(**values_of(row, Key) | {"role": Role(row.role)})
