"""What webhooks are to be sent, and by whom just now: the sender's side of `WebhookStore`.

An event is written together with the change that it tells of, marked as not dispatched. Whoever
looks makes its deliveries and takes the mark off in one transaction: no order of commits and no
clock can lose one. A delivery is claimed by moving its next try to the end of a lease, so a sender
that dies leaves it to the next one: it may come twice, with the same id.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import timedelta
from typing import Any

from sqlalchemy import ColumnElement, Engine, delete, func, select, tuple_, update
from sqlalchemy.orm import Session
from uuid_utils import uuid7

from pgd_core.jobs.job import Event, Job
from pgd_core.jobs.webhooks import DeliveryState, Parcel, message_of
from pgd_core.store.engine import reading, writing
from pgd_core.store.rows import event_of, job_of
from pgd_core.store.tables import EventRow, JobRow
from pgd_core.store.times import database_now
from pgd_core.store.webhook_tables import DeliveryRow, WebhookRow

_UNDISPATCHED = EventRow.dispatched.is_(False)
_PENDING = DeliveryRow.state == DeliveryState.PENDING


class Outbox:
    """Events to deliveries, deliveries to senders."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def dispatch(self, limit: int = 200) -> int:
        with reading(self._engine) as session:  # no lock taken where there is nothing to do
            if session.scalar(select(EventRow.job_id).where(_UNDISPATCHED).limit(1)) is None:
                return 0
        due = (
            select(EventRow.job_id, EventRow.sequence)
            .where(_UNDISPATCHED)
            .order_by(EventRow.at)
            .limit(limit)
            .with_for_update(skip_locked=True)
        )
        with writing(self._engine) as session:
            numbers = [(job_id, sequence) for job_id, sequence in session.execute(due)]
            of_them = tuple_(EventRow.job_id, EventRow.sequence).in_(numbers)
            # After the events: who was answered before one of them happened is among these.
            webhooks = list(session.scalars(select(WebhookRow).order_by(WebhookRow.id)))
            if webhooks:
                session.add_all(_deliveries(session, of_them, webhooks))
            _change(session, update(EventRow).where(of_them).values(dispatched=True))
        return len(numbers)

    def claim(
        self, lease: timedelta, *, busy: Collection[str] = (), each: int = 8, limit: int = 200
    ) -> Sequence[Parcel]:
        due = (_PENDING, DeliveryRow.next_try_at <= database_now())
        place = func.row_number().over(
            partition_by=DeliveryRow.webhook_id,
            order_by=(DeliveryRow.next_try_at, DeliveryRow.id),
        )
        ranked = (
            select(DeliveryRow.id, place.label("place"))
            .where(*due, DeliveryRow.webhook_id.not_in(busy))
            .subquery()
        )
        first = select(ranked.c.id).where(ranked.c.place <= each)
        query = (
            select(DeliveryRow, WebhookRow)
            .join(WebhookRow, WebhookRow.id == DeliveryRow.webhook_id)
            .where(*due, DeliveryRow.id.in_(first))
            .order_by(DeliveryRow.next_try_at, DeliveryRow.id)
            .limit(limit)
            .with_for_update(skip_locked=True, of=DeliveryRow)
        )
        with reading(self._engine) as session:
            if session.scalar(select(DeliveryRow.id).where(*due).limit(1)) is None:
                return []
        with writing(self._engine) as session:
            parcels = [
                Parcel(row.id, to.id, to.url, to.secret, row.body, row.tries + 1)
                for row, to in session.execute(query)
            ]
            taken = update(DeliveryRow).where(DeliveryRow.id.in_([p.id for p in parcels]))
            values = {"tries": DeliveryRow.tries + 1, "next_try_at": database_now(lease)}
            _change(session, taken.values(values))
        return parcels

    def delivered(self, parcel: Parcel, status: int) -> None:
        self._end(parcel, DeliveryState.DELIVERED, status=status, error="")

    def try_failed(
        self, parcel: Parcel, status: int | None, error: str, again_in: timedelta | None
    ) -> None:
        if again_in is None:
            self._end(parcel, DeliveryState.FAILED, status=status, error=error)
            return
        later = {"next_try_at": database_now(again_in), "status": status, "error": error}
        with writing(self._engine) as session:
            _change(session, update(DeliveryRow).where(*_held(parcel)).values(later))

    def postpone(self, parcels: Sequence[Parcel], by: timedelta) -> None:
        values = {"next_try_at": database_now(by), "tries": DeliveryRow.tries - 1}
        with writing(self._engine) as session:
            for parcel in parcels:
                _change(session, update(DeliveryRow).where(*_held(parcel)).values(values))

    def forget(self, kept: timedelta) -> int:
        old = delete(DeliveryRow).where(DeliveryRow.ended_at < database_now(-kept))
        with writing(self._engine) as session:
            gone = session.execute(old.returning(DeliveryRow.id)).all()
        return len(gone)

    def _end(self, parcel: Parcel, state: DeliveryState, **values: Any) -> None:
        ended = {"state": state, "next_try_at": None, "ended_at": database_now()} | values
        with writing(self._engine) as session:
            _change(session, update(DeliveryRow).where(*_held(parcel)).values(ended))


def _deliveries(
    session: Session, of_them: ColumnElement[bool], webhooks: Sequence[WebhookRow]
) -> list[DeliveryRow]:
    events = select(EventRow, JobRow).join(JobRow, JobRow.id == EventRow.job_id)
    rows = session.execute(events.where(of_them).order_by(EventRow.at, EventRow.sequence))
    return [
        _delivery(webhook, event, job)
        for event, job in ((event_of(event), job_of(job)) for event, job in rows)
        for webhook in webhooks
        if _wants(webhook, event, job)
    ]


def _wants(webhook: WebhookRow, event: Event, job: Job) -> bool:
    of_interest = not webhook.kinds or event.kind in webhook.kinds
    return webhook.team == job.team and of_interest and event.at >= webhook.created_at


def _delivery(webhook: WebhookRow, event: Event, job: Job) -> DeliveryRow:
    return DeliveryRow(
        id=str(uuid7()),
        webhook_id=webhook.id,
        kind=event.kind,
        job_id=event.job_id,
        sequence=event.sequence,
        body=message_of(event, job),
        state=DeliveryState.PENDING,
        created_at=database_now(),
        next_try_at=database_now(),
    )


def _held(parcel: Parcel) -> tuple[ColumnElement[bool], ...]:
    """The delivery, if this try is still its last: a lease that ran out gave it to another."""
    return (DeliveryRow.id == parcel.id, DeliveryRow.tries == parcel.number, _PENDING)


def _change(session: Session, change: Any) -> None:
    session.execute(change.execution_options(synchronize_session=False))
