"""Webhooks in SQL: who is told of what; `jobs.webhooks.WebhookStore` without the sender's side."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session
from uuid_utils import uuid7

from pgd_core.errors import NotFound, QuotaExceeded
from pgd_core.jobs.webhooks import (
    MOST_OF_A_TEAM,
    TEST,
    Delivery,
    DeliveryState,
    Webhook,
    new_webhook_secret,
    test_message,
)
from pgd_core.store.engine import reading, writing
from pgd_core.store.outbox import Outbox
from pgd_core.store.rows import values_of
from pgd_core.store.teams import locked_team
from pgd_core.store.times import database_now
from pgd_core.store.webhook_tables import DeliveryRow, WebhookRow


class SqlWebhookStore(Outbox):
    """Implements `WebhookStore`; see there what each method promises."""

    def add(self, team: str, url: str, kinds: Sequence[str], *, by: str) -> tuple[Webhook, str]:
        row = WebhookRow(
            id=str(uuid7()),
            team=team,
            url=url,
            kinds=list(kinds),
            secret=new_webhook_secret(),
            created_by=by,
            created_at=database_now(),
        )
        count = select(func.count()).where(WebhookRow.team == team)
        with writing(self._engine) as session:
            locked_team(session, team)
            if (session.scalar(count) or 0) >= MOST_OF_A_TEAM:
                raise QuotaExceeded(
                    f"team {team!r} has {MOST_OF_A_TEAM} webhooks, and may have no more; delete one"
                )
            session.add(row)
            session.flush()
            return _webhook_of(row), row.secret

    def webhook(self, webhook_id: str) -> Webhook:
        with reading(self._engine) as session:
            return _webhook_of(_existing(session, webhook_id))

    def webhooks(
        self, *, team: str | None = None, after: str | None = None, limit: int = 50
    ) -> Sequence[Webhook]:
        query = select(WebhookRow).order_by(WebhookRow.id.desc()).limit(limit)
        if team is not None:
            query = query.where(WebhookRow.team == team)
        if after is not None:
            query = query.where(WebhookRow.id < after)
        with reading(self._engine) as session:
            return [_webhook_of(row) for row in session.scalars(query)]

    def delete(self, webhook_id: str) -> Webhook:
        with writing(self._engine) as session:
            webhook = _webhook_of(_existing(session, webhook_id, for_update=True))
            session.execute(delete(DeliveryRow).where(DeliveryRow.webhook_id == webhook_id))
            session.execute(delete(WebhookRow).where(WebhookRow.id == webhook_id))
            return webhook

    def deliveries(
        self,
        webhook_id: str,
        *,
        state: DeliveryState | None = None,
        after: str | None = None,
        limit: int = 50,
    ) -> Sequence[Delivery]:
        query = select(DeliveryRow).where(DeliveryRow.webhook_id == webhook_id)
        if state is not None:
            query = query.where(DeliveryRow.state == state)
        if after is not None:
            query = query.where(DeliveryRow.id < after)
        with reading(self._engine) as session:
            _existing(session, webhook_id)
            rows = session.scalars(query.order_by(DeliveryRow.id.desc()).limit(limit))
            return [_delivery_of(row) for row in rows]

    def test(self, webhook_id: str) -> Delivery:
        with writing(self._engine) as session:
            webhook = _webhook_of(_existing(session, webhook_id))
            now = session.scalars(select(database_now())).one()
            row = DeliveryRow(
                id=str(uuid7()),
                webhook_id=webhook_id,
                kind=TEST,
                body=test_message(webhook, now),
                state=DeliveryState.PENDING,
                created_at=now,
                next_try_at=now,
            )
            session.add(row)
            session.flush()
            return _delivery_of(row)


def _existing(session: Session, webhook_id: str, *, for_update: bool = False) -> WebhookRow:
    row = session.get(WebhookRow, webhook_id, with_for_update=for_update or None)
    if row is None:
        raise NotFound(f"no webhook {webhook_id}")
    return row


def _webhook_of(row: WebhookRow) -> Webhook:
    return Webhook(**values_of(row, Webhook) | {"kinds": tuple(row.kinds)})


def _delivery_of(row: DeliveryRow) -> Delivery:
    return Delivery(**values_of(row, Delivery) | {"state": DeliveryState(row.state)})
