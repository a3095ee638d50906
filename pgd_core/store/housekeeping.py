"""What the database knows of files that were found: `jobs.protocols.HousekeepingStore`."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from datetime import datetime, timedelta
from itertools import islice

from sqlalchemy import Engine, or_, select, union_all

from pgd_core.jobs.datasets import contact_sheet_key
from pgd_core.jobs.job import CheckState, Job
from pgd_core.store.dataset_tables import DatasetRow
from pgd_core.store.engine import reading
from pgd_core.store.rows import job_of
from pgd_core.store.tables import ArtifactRow, JobRow, TeacherRow, UploadRow
from pgd_core.store.times import database_now

_OWNERS = (JobRow, TeacherRow, DatasetRow, UploadRow)
_BATCH = 500  # ids in a query: SQLite takes 32766 values


class SqlHousekeeping:
    """Implements `HousekeepingStore`; see there what each method promises."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def now(self) -> datetime:
        with reading(self._engine) as session:
            return session.scalars(select(database_now())).one()

    def jobs(self, job_ids: Collection[str]) -> dict[str, Job]:
        found: dict[str, Job] = {}
        for ids in _batches(job_ids):
            with reading(self._engine) as session:
                rows = session.scalars(select(JobRow).where(JobRow.id.in_(ids)))
                found |= {row.id: job_of(row) for row in rows}
        return found

    def owners(self, ids: Collection[str]) -> set[str]:
        found: set[str] = set()
        for some in _batches(ids):
            query = union_all(*(select(t.id).where(t.id.in_(some)) for t in _OWNERS))
            with reading(self._engine) as session:
                found.update(session.scalars(query))
        return found

    def datasets(self, ids: Collection[str]) -> set[str]:
        found: set[str] = set()
        for some in _batches(ids):
            with reading(self._engine) as session:
                found.update(session.scalars(select(DatasetRow.id).where(DatasetRow.id.in_(some))))
        return found

    def named_keys(self, owner_ids: Collection[str]) -> set[str]:
        found: set[str] = set()
        for ids in _batches(owner_ids):
            of_teacher = or_(TeacherRow.id.in_(ids), TeacherRow.source_job.in_(ids))
            query = union_all(
                select(ArtifactRow.key).where(ArtifactRow.job_id.in_(ids)),
                select(TeacherRow.key).where(of_teacher, TeacherRow.key != ""),
                select(UploadRow.key).where(UploadRow.id.in_(ids)),
            )
            with reading(self._engine) as session:
                found.update(session.scalars(query))
        return found | {contact_sheet_key(each) for each in self.datasets(owner_ids)}

    def spent_uploads(self, upload_ids: Collection[str], kept: timedelta) -> set[str]:
        being_checked = or_(
            *(
                select(table.id)
                .where(table.upload == UploadRow.id, table.state == CheckState.CHECKING)
                .exists()
                for table in (TeacherRow, DatasetRow)
            )
        )
        found: set[str] = set()
        for ids in _batches(upload_ids):
            query = select(UploadRow.id).where(
                UploadRow.id.in_(ids), UploadRow.created_at < database_now(-kept), ~being_checked
            )
            with reading(self._engine) as session:
                found.update(session.scalars(query))
        return found


def _batches(ids: Collection[str]) -> Iterator[list[str]]:
    rest = iter(ids)
    while batch := list(islice(rest, _BATCH)):
        yield batch
