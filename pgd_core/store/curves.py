"""The lines that curves are made of: `jobs.curves.CurveStore`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from sqlalchemy import Engine, select

from pgd_core.jobs.run import ProgressLine
from pgd_core.store.engine import reading
from pgd_core.store.tables import ProgressRow

_AT_ONCE = 1000


class SqlCurveStore:
    """Implements `CurveStore`."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def lines(self, job_id: str) -> Iterator[tuple[int, ProgressLine]]:
        """Piece by piece, each a transaction: whoever draws is not waited for within one."""
        last = 0
        while rows := self._piece(job_id, last):
            for last, attempt, line in rows:  # noqa: B007  the last number goes on
                yield attempt, ProgressLine.model_construct(**line)

    def _piece(self, job_id: str, after: int) -> list[tuple[int, int, dict[str, Any]]]:
        query = (
            select(ProgressRow.sequence, ProgressRow.attempt, ProgressRow.line)
            .where(
                ProgressRow.job_id == job_id,
                ProgressRow.type.in_(("train", "validation")),
                ProgressRow.sequence > after,
            )
            .order_by(ProgressRow.sequence)
            .limit(_AT_ONCE)
        )
        with reading(self._engine) as session:
            return [(row[0], row[1], row[2]) for row in session.execute(query)]
