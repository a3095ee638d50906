"""Workers in SQL: who serves which pool, with what, and whether it still lives."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import timedelta
from types import MappingProxyType

from sqlalchemy import Engine, Text, cast, delete, exists, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from pgd_core.errors import IllegalMove, NotFound
from pgd_core.jobs.job import LEASED_STATES, JobState
from pgd_core.jobs.machine import LIVING, Device, Worker, WorkerState
from pgd_core.jobs.protocols import WorkerOrders
from pgd_core.store.conditions import for_workers
from pgd_core.store.engine import reading, writing
from pgd_core.store.rows import worker_of
from pgd_core.store.tables import DataFolderRow, JobRow, WorkerRow
from pgd_core.store.times import database_now


class SqlWorkerStore:
    """Implements `WorkerStore`."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def announce(self, worker: Worker) -> None:
        with writing(self._engine) as session:
            session.merge(
                WorkerRow(
                    name=worker.name,
                    host=worker.host,
                    pid=worker.pid,
                    pool=worker.pool,
                    devices=[asdict(device) for device in worker.devices],
                    versions=dict(worker.versions),
                    state=WorkerState.ACTIVE,
                    trouble=worker.trouble,
                    started_at=database_now(),
                    seen_at=database_now(),
                )
            )

    def beat(self, name: str, troubles: Mapping[int, str] = MappingProxyType({})) -> WorkerOrders:
        with writing(self._engine) as session:
            row = session.get(WorkerRow, name, with_for_update=True)
            if row is None:
                raise NotFound(
                    f"no worker {name!r}: it was silent for so long that it was forgotten"
                )
            row.seen_at, row.unusable = database_now(), sorted(troubles)
            row.trouble = "; ".join(dict.fromkeys(troubles.values()))
            if row.state == WorkerState.LOST:  # it was only cut off, or frozen
                row.state = WorkerState.DRAINING if row.drain else WorkerState.ACTIVE
            return WorkerOrders(
                drain=row.state == WorkerState.DRAINING, waiting=_has_work(session, row.pool)
            )

    def shared_folder(self, mark: str) -> str:
        with reading(self._engine) as session:
            known: str | None = session.scalar(select(DataFolderRow.mark))
        if known is not None:
            return known
        try:
            with writing(self._engine) as session:
                session.add(DataFolderRow(one=1, mark=mark))
        except IntegrityError:  # another process was first
            return self.shared_folder(mark)
        return mark

    def drain(self, name: str) -> Worker:
        return self._set(name, WorkerState.DRAINING, WorkerState.ACTIVE)

    def undrain(self, name: str) -> Worker:
        return self._set(name, WorkerState.ACTIVE, WorkerState.DRAINING)

    def stopped(self, name: str) -> None:
        with writing(self._engine) as session:
            session.execute(
                update(WorkerRow)
                .where(WorkerRow.name == name)
                .values(state=WorkerState.STOPPED, seen_at=database_now())
            )

    def workers(self, *, gone_too: bool = False) -> Sequence[Worker]:
        query = select(WorkerRow).order_by(WorkerRow.pool, WorkerRow.name)
        if not gone_too:
            query = query.where(WorkerRow.state != WorkerState.STOPPED)
        with reading(self._engine) as session:
            return [worker_of(row) for row in session.scalars(query)]

    def worker(self, name: str) -> Worker:
        with reading(self._engine) as session:
            return worker_of(_existing(session, name))

    def machines(self, pool: str) -> Sequence[tuple[Device, ...]]:
        devices = cast(WorkerRow.devices, Text)  # PostgreSQL does not compare JSON
        with reading(self._engine) as session:
            found = session.scalars(select(devices).where(WorkerRow.pool == pool).distinct())
            return [tuple(Device(**one) for one in json.loads(text)) for text in found]

    def mark_lost(self, silent_for: timedelta) -> Sequence[Worker]:
        lost = (
            update(WorkerRow)
            .where(WorkerRow.state.in_(LIVING), WorkerRow.seen_at < database_now(-silent_for))
            .values(state=WorkerState.LOST)
            .returning(WorkerRow)
            .execution_options(populate_existing=True, synchronize_session=False)
        )
        with writing(self._engine) as session:
            return [worker_of(row) for row in session.scalars(lost)]

    def forget(self, gone_for: timedelta) -> Sequence[str]:
        holds_a_job = exists().where(
            JobRow.worker == WorkerRow.name, JobRow.state.in_(LEASED_STATES)
        )
        gone = (
            delete(WorkerRow)
            .where(
                WorkerRow.state.not_in(LIVING),
                WorkerRow.seen_at < database_now(-gone_for),
                ~holds_a_job,
            )
            .returning(WorkerRow.name)
        )
        with writing(self._engine) as session:
            return sorted(session.scalars(gone))

    def _set(self, name: str, new: WorkerState, old: WorkerState) -> Worker:
        with writing(self._engine) as session:
            row = _existing(session, name, for_update=True)
            if row.state not in (new, old):
                raise IllegalMove(f"worker {name} is {row.state}; it cannot become {new}")
            row.state, row.drain = new, new is WorkerState.DRAINING
            session.flush()
            return worker_of(row)


def _has_work(session: Session, pool: str) -> bool:
    queued = select(JobRow.id).where(
        JobRow.pool == pool, JobRow.state == JobState.QUEUED, for_workers()
    )
    return bool(session.scalar(select(exists(queued))))


def _existing(session: Session, name: str, *, for_update: bool = False) -> WorkerRow:
    row = session.get(WorkerRow, name, with_for_update=for_update or None)
    if row is None:
        raise NotFound(f"no worker {name!r}")
    return row
