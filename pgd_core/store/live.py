"""How far jobs have come, for many at once: `jobs.live.LiveStore`."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from sqlalchemy import Engine, ScalarSelect, func, or_, select

from pgd_core.jobs.job import JobState
from pgd_core.jobs.live import Marks
from pgd_core.store.access_tables import KeyRow
from pgd_core.store.engine import reading
from pgd_core.store.tables import EventRow, JobRow, ProgressRow
from pgd_core.store.times import database_now


class SqlLiveStore:
    """Implements `LiveStore`."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def marks(self, job_ids: Collection[str]) -> dict[str, Marks]:
        # One statement, so one snapshot: a job that is seen to have ended shows its last numbers.
        # Numbers of a job are given while its row is held, so that they are committed in order: a
        # lower one never shows up after a higher one.
        query = select(JobRow.id, JobRow.state, JobRow.team, _last(EventRow), _last(ProgressRow))
        with reading(self._engine) as session:
            rows = session.execute(query.where(JobRow.id.in_(job_ids)))
            return {row[0]: Marks(JobState(row[1]), row[2], row[3], row[4]) for row in rows}

    def good_keys(self, key_ids: Collection[str]) -> set[str]:
        good = (
            KeyRow.revoked_at.is_(None),
            or_(KeyRow.expires_at.is_(None), KeyRow.expires_at > database_now()),
        )
        with reading(self._engine) as session:
            return set(session.scalars(select(KeyRow.id).where(KeyRow.id.in_(key_ids), *good)))


def _last(rows: type[EventRow] | type[ProgressRow]) -> ScalarSelect[Any]:
    last = select(func.coalesce(func.max(rows.sequence), 0)).where(rows.job_id == JobRow.id)
    return last.correlate(JobRow).scalar_subquery()
