"""The tables of keys and of what was done with them."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import Index, String
from sqlalchemy.orm import Mapped, mapped_column

from pgd_core.store.tables import Base


class KeyRow(Base):
    """An API key; see `jobs.keys.Key`."""

    __tablename__ = "keys"
    __table_args__ = (Index("ix_keys_team", "team", "id"),)

    id: Mapped[str] = mapped_column(String(36), primary_key=True)
    name: Mapped[str] = mapped_column(String(200))
    team: Mapped[str] = mapped_column(String(64))
    role: Mapped[str] = mapped_column(String(32))
    prefix: Mapped[str] = mapped_column(String(32), unique=True)
    sha256: Mapped[str] = mapped_column(String(64))
    created_at: Mapped[datetime]
    expires_at: Mapped[datetime | None]
    revoked_at: Mapped[datetime | None]
    last_used_at: Mapped[datetime | None]


class AuditRow(Base):
    """An audit event; see `jobs.keys.AuditEvent`. Only ever inserted."""

    __tablename__ = "audit_events"
    __table_args__ = (Index("ix_audit_events_team", "team", "id"),)

    id: Mapped[str] = mapped_column(String(36), primary_key=True)
    at: Mapped[datetime]
    key_id: Mapped[str] = mapped_column(String(36))
    key_name: Mapped[str] = mapped_column(String(200))
    team: Mapped[str] = mapped_column(String(64))
    action: Mapped[str] = mapped_column(String(64))
    thing: Mapped[str] = mapped_column(String(500))
    details: Mapped[dict[str, Any]]
