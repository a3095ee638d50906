"""Requests that came with an idempotency key, and what was answered; see `jobs.answers`."""

from __future__ import annotations

from datetime import datetime, timedelta

from sqlalchemy import Engine, Index, String, Text, and_, delete, or_, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Mapped, mapped_column

from pgd_core.jobs.answers import Answer, Known
from pgd_core.store.engine import reading, writing
from pgd_core.store.tables import Base
from pgd_core.store.times import database_now

KEPT = timedelta(days=1)
WORKED_ON = timedelta(minutes=1)  # at most; who takes longer has died


class AnswerRow(Base):
    """A request and its answer, which has no status while it is worked on."""

    __tablename__ = "answers"
    __table_args__ = (Index("ix_answers_created_at", "created_at"),)

    key: Mapped[str] = mapped_column(String(64), primary_key=True)
    request_sha256: Mapped[str] = mapped_column(String(64))
    status: Mapped[int | None]
    location: Mapped[str] = mapped_column(String(500), default="")
    body: Mapped[str] = mapped_column(Text, default="")
    created_at: Mapped[datetime]


class SqlAnswerStore:
    """Implements `AnswerStore`."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def begin(self, key: str, request_sha256: str) -> Known | None:
        row = AnswerRow(key=key, request_sha256=request_sha256, created_at=database_now())
        try:
            with writing(self._engine) as session:
                session.execute(delete(AnswerRow).where(_OLD))
                session.add(row)
            return None
        except IntegrityError:
            with reading(self._engine) as session:
                before = session.get(AnswerRow, key)
                if before is None:  # it was forgotten just now: let the caller ask again
                    return Known(request_sha256, None)
                return Known(before.request_sha256, _answer(before))

    def finish(self, key: str, answer: Answer) -> None:
        values = {"status": answer.status, "location": answer.location, "body": answer.body}
        with writing(self._engine) as session:
            session.execute(update(AnswerRow).where(AnswerRow.key == key).values(**values))

    def forget(self, key: str) -> None:
        with writing(self._engine) as session:
            session.execute(delete(AnswerRow).where(AnswerRow.key == key))


_OLD = or_(
    AnswerRow.created_at < database_now(-KEPT),
    and_(AnswerRow.status.is_(None), AnswerRow.created_at < database_now(-WORKED_ON)),
)


def _answer(row: AnswerRow) -> Answer | None:
    return None if row.status is None else Answer(row.status, row.location, row.body)
