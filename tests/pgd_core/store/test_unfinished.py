"""The contract of `UnfinishedStore`."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest

from pgd_core.errors import Conflict, NotFound, QuotaExceeded
from pgd_core.jobs.unfinished import UploadQuota
from pgd_core.store import SqlTeamStore, SqlUnfinishedStore

DAY = timedelta(days=1)
PAST = timedelta(seconds=-1)
LARGE = 5_000_000_000
WIDE = UploadQuota(10 * LARGE)


@pytest.fixture
def uploads(engine):
    return SqlUnfinishedStore(engine)


def begin(uploads, *, team="default", length=LARGE, valid_for=DAY, quota=WIDE):
    return uploads.begin(
        team=team,
        filename="big.pth",
        length=length,
        sha256="ab" * 32,
        metadata="filename YmlnLnB0aA==",
        valid_for=valid_for,
        quota=quota,
    )


def test_a_new_upload_has_nothing_yet_and_time_to_come(uploads):
    upload = begin(uploads)

    assert uploads.get(upload.id) == upload
    assert (upload.offset, upload.received, upload.length) == (0, 0, LARGE)
    assert (upload.filename, upload.sha256, upload.metadata) == (
        "big.pth",
        "ab" * 32,
        "filename YmlnLnB0aA==",
    )
    assert upload.expires_at - upload.created_at > DAY / 2
    assert (upload.finished_at, upload.expired) == (None, False)


def test_what_arrives_is_counted_and_puts_off_the_end(uploads):
    upload = begin(uploads, valid_for=PAST)
    assert uploads.get(upload.id).expired

    noted = uploads.received(upload.id, 3_000_000_000, DAY)

    assert noted == uploads.get(upload.id)
    assert (noted.offset, noted.expired) == (3_000_000_000, False)


def test_the_last_byte_counts_once_the_file_is_registered(uploads, library):
    upload = begin(uploads)

    assert uploads.received(upload.id, LARGE, DAY).offset == LARGE - 1
    file = uploads.finish(upload.id, key="uploads/1", size=LARGE, sha256="ab" * 32)

    assert library.upload(upload.id) == file
    assert (file.id, file.filename, file.size, file.team) == (
        upload.id,
        "big.pth",
        LARGE,
        "default",
    )
    assert uploads.get(upload.id).offset == LARGE


def test_a_file_is_registered_once_however_many_finish_it(uploads, engine):
    upload = begin(uploads)

    def finish(_):
        try:
            SqlUnfinishedStore(engine).finish(upload.id, key="k", size=LARGE, sha256="")
        except Conflict:
            return 0
        return 1

    with ThreadPoolExecutor(4) as threads:
        assert sum(threads.map(finish, range(4))) == 1


def test_nothing_is_changed_after_the_end(uploads):
    upload = begin(uploads)
    uploads.finish(upload.id, key="k", size=LARGE, sha256="")

    with pytest.raises(Conflict, match="finished"):
        uploads.received(upload.id, 1, DAY)
    with pytest.raises(Conflict, match="finished"):
        uploads.drop(upload.id)
    assert uploads.get(upload.id).received == LARGE


def test_one_that_was_dropped_is_not_found(uploads):
    upload = begin(uploads)
    uploads.drop(upload.id)

    for use in (
        lambda: uploads.get(upload.id),
        lambda: uploads.received(upload.id, 1, DAY),
        lambda: uploads.finish(upload.id, key="k", size=1, sha256=""),
        lambda: uploads.drop(upload.id),
    ):
        with pytest.raises(NotFound, match=upload.id):
            use()


def test_a_teams_unfinished_bytes_are_limited_by_what_was_announced(uploads, engine):
    SqlTeamStore(engine).put("vision", weight=1, max_running_gpus=None, max_queued_jobs=None)
    quota = UploadQuota(2 * LARGE)
    done, late, dropped = (begin(uploads, quota=WIDE) for _ in range(3))
    first = begin(uploads, length=1, quota=WIDE)

    with pytest.raises(QuotaExceeded, match="PGD_MAX_UNFINISHED_BYTES"):
        begin(uploads, length=1, quota=quota)
    begin(uploads, team="vision", quota=quota)  # another team's are its own
    uploads.finish(done.id, key="k", size=LARGE, sha256="")
    uploads.drop(dropped.id)
    uploads.received(late.id, 5, PAST)

    begin(uploads, length=2 * LARGE - 1, quota=quota)
    with pytest.raises(QuotaExceeded):
        begin(uploads, length=1, quota=quota)
    uploads.drop(first.id)
    begin(uploads, length=1, quota=quota)


def test_a_teams_unfinished_uploads_are_counted_however_small(uploads):
    for _ in range(3):
        begin(uploads, length=1)

    with pytest.raises(QuotaExceeded, match="3 unfinished uploads"):
        begin(uploads, length=1, quota=UploadQuota(LARGE, most_uploads=3))


def test_of_many_that_begin_at_once_no_more_are_let_in_than_fit(engine):
    def begun(_):
        try:
            begin(SqlUnfinishedStore(engine), length=10, quota=UploadQuota(35))
        except QuotaExceeded:
            return 0
        return 1

    with ThreadPoolExecutor(8) as threads:
        assert sum(threads.map(begun, range(8))) == 3


def test_those_whose_time_is_over_are_found_and_forgotten(uploads):
    late, done, fresh = begin(uploads, valid_for=PAST), begin(uploads, valid_for=PAST), None
    uploads.finish(done.id, key="k", size=LARGE, sha256="")
    fresh = begin(uploads)

    assert set(uploads.expired()) == {late.id, done.id}
    assert len(uploads.expired(limit=1)) == 1
    assert not uploads.forget_expired(fresh.id)
    assert uploads.forget_expired(late.id)
    assert not uploads.forget_expired(late.id)
    assert uploads.known([late.id, done.id, fresh.id, "other"]) == {done.id, fresh.id}


def test_one_that_grows_while_it_is_swept_stays(uploads):
    late = begin(uploads, valid_for=PAST)
    assert list(uploads.expired()) == [late.id]
    uploads.received(late.id, 1, DAY)

    assert not uploads.forget_expired(late.id)
    assert uploads.get(late.id).received == 1
