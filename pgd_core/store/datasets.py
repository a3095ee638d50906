"""Data sets in SQL: `jobs.datasets.DatasetStore`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import Engine, func, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session
from uuid_utils import uuid7

from pgd_core.errors import Conflict, IllegalMove, NotFound
from pgd_core.jobs.datasets import Parts
from pgd_core.jobs.job import FINAL_STATES, CheckState, Dataset, JobState
from pgd_core.jobs.teams import DEFAULT_TEAM
from pgd_core.store.dataset_tables import DatasetRow, DatasetVersionRow, FormerDatasetRow
from pgd_core.store.engine import reading, writing
from pgd_core.store.rows import storable
from pgd_core.store.tables import JobRow, UploadRow
from pgd_core.store.times import database_now

_UNFINISHED = [state for state in JobState if state not in FINAL_STATES]
_SHOWN_JOBS = 5


class DatasetRecords:
    """Implements `DatasetStore`; see there what each method promises."""

    _engine: Engine

    def add_dataset(
        self,
        name: str,
        train_annotations: str = "",
        train_images: str = "",
        val_annotations: str = "",
        val_images: str = "",
        *,
        upload: str | None = None,
        s3: str = "",
        team: str = DEFAULT_TEAM,
    ) -> Dataset:
        values = {
            "name": name,
            "team": team,
            "train_annotations": train_annotations,
            "train_images": train_images,
            "val_annotations": val_annotations,
            "val_images": val_images,
            "upload": upload,
            "s3": s3,
        }
        try:
            return self._add_dataset(values)
        except IntegrityError:  # somebody else gave the name its first version just now
            return self._add_dataset(values)

    def _add_dataset(self, values: dict[str, Any]) -> Dataset:
        with writing(self._engine) as session:
            upload = values["upload"]
            if upload is not None and session.get(UploadRow, upload) is None:
                raise NotFound(f"no upload {upload}")
            row = DatasetRow(
                id=str(uuid7()),
                version=_next_version(session, values["team"], values["name"]),
                state=CheckState.CHECKING,
                created_at=database_now(),
                **values,
            )
            session.add(row)
            session.flush()
            return dataset_of(row)

    def dataset(self, dataset_id: str) -> Dataset:
        with reading(self._engine) as session:
            return _datasets_of(session, [_existing(session, dataset_id)])[0]

    def datasets(
        self, *, team: str | None = None, after: str | None = None, limit: int = 50
    ) -> Sequence[Dataset]:
        query = select(DatasetRow).order_by(DatasetRow.id.desc()).limit(limit)
        if team is not None:
            query = query.where(DatasetRow.team == team)
        if after is not None:
            query = query.where(DatasetRow.id < after)
        with reading(self._engine) as session:
            return _datasets_of(session, session.scalars(query))

    def datasets_to_check(self) -> Sequence[Dataset]:
        waiting = DatasetRow.state == CheckState.CHECKING
        with reading(self._engine) as session:
            rows = session.scalars(select(DatasetRow).where(waiting).order_by(DatasetRow.id))
            return [dataset_of(row) for row in rows]

    def dataset_unpacked(self, dataset_id: str, parts: Parts) -> Dataset:
        names = ("train_annotations", "train_images", "val_annotations", "val_images")
        values = dict(zip(names, parts, strict=True))
        with writing(self._engine) as session:
            return _write(session, dataset_id, values, DatasetRow.train_annotations == "")

    def dataset_told(self, dataset_id: str, progress: dict[str, Any]) -> None:
        told = update(DatasetRow).where(
            DatasetRow.id == dataset_id, DatasetRow.state == CheckState.CHECKING
        )
        with writing(self._engine) as session:
            session.execute(told.values(progress=storable(progress)))

    def dataset_checked(
        self,
        dataset_id: str,
        *,
        usable: bool,
        report: dict[str, Any],
        sha256: str,
        classes: Sequence[str],
    ) -> None:
        values = {
            "state": CheckState.READY if usable else CheckState.REJECTED,
            "report": storable(report),
            "sha256": sha256,
            "classes": list(classes),
            "progress": {},
        }
        with writing(self._engine) as session:
            _write(session, dataset_id, values)

    def delete_dataset(self, dataset_id: str) -> Dataset:
        users = (
            select(JobRow.id)
            .where(JobRow.state.in_(_UNFINISHED), JobRow.spec["dataset"].as_string() == dataset_id)
            .order_by(JobRow.id)
        )
        with writing(self._engine) as session:
            row = _existing(session, dataset_id, for_update=True)
            jobs = list(session.scalars(users))
            if jobs:
                more = f" and {len(jobs) - _SHOWN_JOBS} more" if len(jobs) > _SHOWN_JOBS else ""
                raise Conflict(
                    f"data set {dataset_id} is needed by jobs that have not ended: "
                    f"{', '.join(jobs[:_SHOWN_JOBS])}{more}; cancel them, or wait for them, first"
                )
            deleted = dataset_of(row)
            session.add(
                FormerDatasetRow(
                    id=row.id,
                    name=row.name,
                    version=row.version,
                    team=row.team,
                    classes=row.classes,
                    sha256=row.sha256,
                    deleted_at=database_now(),
                )
            )
            session.delete(row)
            return deleted

    def dataset_classes(self, dataset_id: str) -> tuple[str, ...]:
        with reading(self._engine) as session:
            row = session.get(DatasetRow, dataset_id) or session.get(FormerDatasetRow, dataset_id)
            if row is None:
                raise NotFound(f"no data set {dataset_id}")
            return tuple(row.classes)


def _existing(session: Session, dataset_id: str, *, for_update: bool = False) -> DatasetRow:
    row = session.get(DatasetRow, dataset_id, with_for_update=for_update or None)
    if row is None:
        raise NotFound(f"no data set {dataset_id}")
    return row


def _next_version(session: Session, team: str, name: str) -> int:
    """Held until the transaction ends, so that two never get the same."""
    row = session.get(DatasetVersionRow, (team, name), with_for_update=True)
    if row is None:
        row = DatasetVersionRow(team=team, name=name, last=0)
        session.add(row)
    row.last += 1
    session.flush()
    return row.last


def _write(session: Session, dataset_id: str, values: dict[str, Any], *conditions: Any) -> Dataset:
    """Of a data set that is being checked: one that was keeps its first result."""
    row = session.scalar(
        update(DatasetRow)
        .where(DatasetRow.id == dataset_id, DatasetRow.state == CheckState.CHECKING, *conditions)
        .values(**values)
        .returning(DatasetRow)
    )
    if row is None:
        state = _existing(session, dataset_id).state
        raise IllegalMove(f"data set {dataset_id} was checked or unpacked before: it is {state}")
    return dataset_of(row)


def _datasets_of(session: Session, rows: Iterable[DatasetRow]) -> list[Dataset]:
    """With `same_as`: the team's first ready one of the same content, where that is another."""
    found = list(rows)
    known = {row.sha256 for row in found if row.sha256}
    query = (
        select(DatasetRow.team, DatasetRow.sha256, func.min(DatasetRow.id))
        .where(DatasetRow.sha256.in_(known), DatasetRow.state == CheckState.READY)
        .group_by(DatasetRow.team, DatasetRow.sha256)
    )
    first = {(team, sha256): id_ for team, sha256, id_ in session.execute(query)} if known else {}

    def same_as(row: DatasetRow) -> str | None:
        other = first.get((row.team, row.sha256))
        return other if other is not None and other < row.id else None

    return [dataset_of(row, same_as(row)) for row in found]


def dataset_of(row: DatasetRow, same_as: str | None = None) -> Dataset:
    return Dataset(
        id=row.id,
        name=row.name,
        state=CheckState(row.state),
        train_annotations=row.train_annotations,
        train_images=row.train_images,
        val_annotations=row.val_annotations,
        val_images=row.val_images,
        classes=tuple(row.classes),
        sha256=row.sha256,
        report=row.report,
        created_at=row.created_at,
        team=row.team,
        version=row.version,
        upload=row.upload,
        s3=row.s3,
        progress=row.progress,
        same_as=same_as,
    )
