"""Resumable uploads that were not finished in time go, with their bytes."""

from __future__ import annotations

from datetime import timedelta

import pytest

from pgd_core.errors import NotFound
from pgd_core.jobs.unfinished import UploadQuota
from pgd_core.store import SqlUnfinishedStore
from tests.worker.conftest import make_old
from worker.sweep_unfinished import sweep_unfinished

HOUR, DAY = timedelta(hours=1), timedelta(days=1)


@pytest.fixture
def uploads(world):
    return SqlUnfinishedStore(world.engine)


def begun(world, uploads, valid_for):
    """An upload that ten bytes of have arrived."""
    upload = uploads.begin(
        team="default",
        filename="a",
        length=100,
        sha256="",
        metadata="",
        valid_for=valid_for,
        quota=UploadQuota(10**6),
    )
    file = world.folder / "unfinished" / upload.id
    file.parent.mkdir(exist_ok=True)
    file.write_bytes(b"0123456789")
    return upload, file


def test_an_upload_goes_when_its_time_is_over_and_not_before(world, uploads):
    late, its_bytes = begun(world, uploads, -HOUR)
    fresh, other_bytes = begun(world, uploads, HOUR)
    make_old(other_bytes, 9 * DAY)

    broom = sweep_unfinished(world.folder, uploads)

    assert (broom.deleted, broom.freed_bytes) == (1, 10)
    assert not its_bytes.exists()
    with pytest.raises(NotFound):
        uploads.get(late.id)
    assert other_bytes.exists()
    assert uploads.get(fresh.id) == fresh


def test_what_is_known_of_a_finished_upload_goes_and_the_upload_stays(world, uploads):
    upload, its_bytes = begun(world, uploads, -HOUR)
    its_bytes.unlink()
    uploads.finish(upload.id, key="uploads/1", size=100, sha256="")

    sweep_unfinished(world.folder, uploads)

    assert uploads.known([upload.id]) == set()
    assert world.library.upload(upload.id).size == 100


def test_bytes_that_no_row_names_go_after_a_day(world, uploads):
    upload, old = begun(world, uploads, HOUR)
    young = old.with_name("0192-young")
    young.write_bytes(b"x")
    uploads.drop(upload.id)
    make_old(old, 2 * DAY)

    sweep_unfinished(world.folder, uploads)

    assert not old.exists()
    assert young.exists()


def test_where_nothing_was_ever_sent_there_is_nothing_to_sweep(world, uploads):
    assert sweep_unfinished(world.folder, uploads).deleted == 0
