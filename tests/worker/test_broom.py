from __future__ import annotations

import shutil
from datetime import timedelta

from structlog.testing import capture_logs

from worker.broom import Broom, is_another_database


def test_each_deletion_is_told_with_its_bytes_and_added_up(tmp_path):
    broom = Broom()
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_bytes(b"123")

    with capture_logs() as logged:
        for name in ("a", "b", "none"):
            broom.remove(tmp_path / name, "checkpoints", idle=timedelta(0))

    assert (broom.deleted, broom.freed_bytes) == (2, 6)
    assert logged[1] == {
        "event": "deleted",
        "log_level": "info",
        "what": "checkpoints",
        "path": str(tmp_path / "b"),
        "bytes": 3,
    }


def test_what_cannot_be_deleted_is_told_and_holds_up_nothing(tmp_path, monkeypatch):
    def refused(path):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(shutil, "rmtree", refused)
    broom = Broom()

    with capture_logs() as logged:
        assert not broom.remove(tmp_path, "checkpoints", idle=timedelta(0))

    assert broom.deleted == 0
    assert [line["event"] for line in logged] == ["not_deleted"]


def test_a_database_that_knows_fewer_than_half_is_another_and_somebody_is_told():
    with capture_logs() as logged:
        found = [is_another_database(*counts) for counts in ((0, 0), (5, 5), (5, 6), (0, 1))]

    assert found == [False, False, True, True]
    assert [line["log_level"] for line in logged] == ["error", "error"]
