"""The tables of webhooks and of what is sent to them."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import ForeignKey, Index, String, Text, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from pgd_core.store.tables import Base


class WebhookRow(Base):
    """A webhook; see `jobs.webhooks.Webhook`. Its secret signs, so it is kept as it is."""

    __tablename__ = "webhooks"
    __table_args__ = (Index("ix_webhooks_team", "team", "id"),)

    id: Mapped[str] = mapped_column(String(36), primary_key=True)
    team: Mapped[str] = mapped_column(String(64))
    url: Mapped[str] = mapped_column(Text)
    kinds: Mapped[list[str]]
    secret: Mapped[str] = mapped_column(String(100))
    created_by: Mapped[str] = mapped_column(String(200))
    created_at: Mapped[datetime]


class DeliveryRow(Base):
    """A message to a webhook; see `jobs.webhooks.Delivery`."""

    __tablename__ = "webhook_deliveries"
    __table_args__ = (
        UniqueConstraint("webhook_id", "job_id", "sequence"),
        Index("ix_webhook_deliveries_due", "state", "next_try_at"),
        Index("ix_webhook_deliveries_of", "webhook_id", "id"),
    )

    id: Mapped[str] = mapped_column(String(36), primary_key=True)
    webhook_id: Mapped[str] = mapped_column(String(36), ForeignKey("webhooks.id"))
    kind: Mapped[str] = mapped_column(String(32))
    job_id: Mapped[str | None] = mapped_column(String(36))
    sequence: Mapped[int | None]
    body: Mapped[str] = mapped_column(Text)
    state: Mapped[str] = mapped_column(String(32))
    tries: Mapped[int] = mapped_column(default=0)
    status: Mapped[int | None]
    error: Mapped[str] = mapped_column(Text, default="")
    created_at: Mapped[datetime]
    next_try_at: Mapped[datetime | None]
    ended_at: Mapped[datetime | None]
