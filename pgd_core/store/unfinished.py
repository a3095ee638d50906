"""Uploads on their way in SQL: `jobs.unfinished.UnfinishedStore`."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import timedelta

from sqlalchemy import Engine, Select, delete, func, select, update
from sqlalchemy.engine import Row
from sqlalchemy.orm import Session
from uuid_utils import uuid7

from pgd_core.errors import Conflict, NotFound, QuotaExceeded
from pgd_core.jobs.job import Upload
from pgd_core.jobs.unfinished import UnfinishedUpload, UploadQuota
from pgd_core.store.engine import reading, writing
from pgd_core.store.rows import upload_of
from pgd_core.store.tables import TeamRow, UploadRow
from pgd_core.store.times import database_now
from pgd_core.store.upload_tables import UnfinishedUploadRow

_EXPIRED = UnfinishedUploadRow.expires_at <= database_now()


class SqlUnfinishedStore:
    """Implements `UnfinishedStore`; see there what each method promises."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def begin(
        self,
        *,
        team: str,
        filename: str,
        length: int,
        sha256: str,
        metadata: str,
        valid_for: timedelta,
        quota: UploadQuota,
    ) -> UnfinishedUpload:
        row = UnfinishedUploadRow(
            id=str(uuid7()),
            team=team,
            filename=filename,
            length=length,
            received=0,
            sha256=sha256,
            sent_metadata=metadata,
            created_at=database_now(),
            expires_at=database_now(valid_for),
        )
        with writing(self._engine) as session:
            # Held, so that two of a team do not both take the last room.
            session.execute(select(TeamRow.name).where(TeamRow.name == team).with_for_update())
            _check_quota(session, team, length, quota)
            session.add(row)
            session.flush()
            return _get(session, row.id)

    def get(self, upload_id: str) -> UnfinishedUpload:
        with reading(self._engine) as session:
            return _get(session, upload_id)

    def received(self, upload_id: str, size: int, valid_for: timedelta) -> UnfinishedUpload:
        note = (
            update(UnfinishedUploadRow)
            .where(UnfinishedUploadRow.id == upload_id, UnfinishedUploadRow.finished_at.is_(None))
            .values(received=size, expires_at=database_now(valid_for))
            .returning(UnfinishedUploadRow.id)
        )
        with writing(self._engine) as session:
            if session.scalar(note) is None:
                raise _finished(_get(session, upload_id))
            return _get(session, upload_id)

    def finish(self, upload_id: str, *, key: str, size: int, sha256: str) -> Upload:
        end = (
            update(UnfinishedUploadRow)
            .where(UnfinishedUploadRow.id == upload_id, UnfinishedUploadRow.finished_at.is_(None))
            .values(finished_at=database_now(), received=size)
            .returning(UnfinishedUploadRow.id)
        )
        with writing(self._engine) as session:
            if session.scalar(end) is None:
                raise _finished(_get(session, upload_id))
            known = _get(session, upload_id)
            row = UploadRow(
                id=known.id,
                filename=known.filename,
                size=size,
                sha256=sha256,
                key=key,
                created_at=database_now(),
                team=known.team,
            )
            session.add(row)
            session.flush()
            session.refresh(row)
            return upload_of(row)

    def drop(self, upload_id: str) -> None:
        end = delete(UnfinishedUploadRow).where(
            UnfinishedUploadRow.id == upload_id, UnfinishedUploadRow.finished_at.is_(None)
        )
        with writing(self._engine) as session:
            if session.scalar(end.returning(UnfinishedUploadRow.id)) is None:
                raise _finished(_get(session, upload_id))

    def expired(self, limit: int = 1000) -> Sequence[str]:
        query = (
            select(UnfinishedUploadRow.id)
            .where(_EXPIRED)
            .order_by(UnfinishedUploadRow.expires_at)
            .limit(limit)
        )
        with reading(self._engine) as session:
            return list(session.scalars(query))

    def forget_expired(self, upload_id: str) -> bool:
        end = (
            delete(UnfinishedUploadRow)
            .where(UnfinishedUploadRow.id == upload_id, _EXPIRED)
            .returning(UnfinishedUploadRow.id)
        )
        with writing(self._engine) as session:
            return session.scalar(end) is not None

    def known(self, ids: Collection[str]) -> set[str]:
        found: set[str] = set()
        rest = list(ids)
        with reading(self._engine) as session:
            while rest:
                some, rest = rest[:500], rest[500:]
                found.update(
                    session.scalars(
                        select(UnfinishedUploadRow.id).where(UnfinishedUploadRow.id.in_(some))
                    )
                )
        return found


def _check_quota(session: Session, team: str, length: int, quota: UploadQuota) -> None:
    on_their_way = (
        UnfinishedUploadRow.team == team,
        UnfinishedUploadRow.finished_at.is_(None),
        ~_EXPIRED,
    )
    query = select(func.count(), func.coalesce(func.sum(UnfinishedUploadRow.length), 0)).where(
        *on_their_way
    )
    count, total = session.execute(query).one()
    if count >= quota.most_uploads:
        raise QuotaExceeded(
            f"team {team!r} has {count} unfinished uploads, as many as it may; finish or delete one"
        )
    if total + length > quota.most_bytes:
        raise QuotaExceeded(
            f"team {team!r} has {total} bytes in unfinished uploads; {length} more are over its "
            f"{quota.most_bytes} (PGD_MAX_UNFINISHED_BYTES); finish or delete one"
        )


def _get(session: Session, upload_id: str) -> UnfinishedUpload:
    query: Select[UnfinishedUploadRow, bool] = select(UnfinishedUploadRow, _EXPIRED).where(
        UnfinishedUploadRow.id == upload_id
    )
    found = session.execute(query.execution_options(populate_existing=True)).one_or_none()
    if found is None:
        raise NotFound(f"no unfinished upload {upload_id}")
    return _unfinished_of(found)


def _unfinished_of(found: Row[UnfinishedUploadRow, bool]) -> UnfinishedUpload:
    row, expired = found
    return UnfinishedUpload(
        id=row.id,
        team=row.team,
        filename=row.filename,
        length=row.length,
        received=row.received,
        sha256=row.sha256,
        metadata=row.sent_metadata,
        created_at=row.created_at,
        expires_at=row.expires_at,
        finished_at=row.finished_at,
        expired=bool(expired),
    )


def _finished(upload: UnfinishedUpload) -> Conflict:
    return Conflict(f"upload {upload.id} is finished; see /v1/uploads/{upload.id}")
