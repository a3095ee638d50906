from __future__ import annotations

import errno
import hashlib
import os
from datetime import UTC, datetime, timedelta

import pytest

from pgd_core.errors import NotFound, StorageUnavailable
from pgd_core.files import LocalFileStore


@pytest.fixture
def files(tmp_path):
    return LocalFileStore(tmp_path / "files")


@pytest.fixture
def source(tmp_path):
    path = tmp_path / "source"
    path.write_bytes(b"weights" * 300_000)  # over one chunk
    return path


def test_a_file_is_moved_so_that_it_takes_its_place_on_the_disk_once(files, source):
    number = source.stat().st_ino
    files.put("a", source)

    assert files.path("a").stat().st_ino == number


def test_a_file_of_another_file_system_is_copied_and_then_gone(files, source, monkeypatch):
    content, rename = source.read_bytes(), type(source).replace

    def replace(path, target):
        if path == source:
            raise OSError(errno.EXDEV, "Invalid cross-device link")
        return rename(path, target)

    monkeypatch.setattr(type(source), "replace", replace)
    size, sha256 = files.put("a/b", source)

    assert (size, sha256) == (len(content), hashlib.sha256(content).hexdigest())
    assert files.path("a/b").read_bytes() == content
    assert [path.name for path in files.path("a/b").parent.iterdir()] == ["b"]
    assert not source.exists()


def test_nothing_is_left_beside_the_files(files, source, tmp_path):
    files.put("a/b", source)
    with pytest.raises(FileNotFoundError):
        files.put("a/b", tmp_path / "missing")

    assert [path.name for path in files.path("a/b").parent.iterdir()] == ["b"]


def test_a_file_that_is_missed_where_there_is_none_at_all_says_nothing_about_the_file(
    files, source
):
    """As where the store's share is not mounted."""
    with pytest.raises(StorageUnavailable, match="is its share mounted"):
        files.path("a")

    files.put("b", source)
    with pytest.raises(NotFound):
        files.path("a")


def test_a_folder_has_no_links_for_others(files, source):
    files.put("a", source)

    assert files.link("a", "a.bin", "text/plain", timedelta(minutes=1)) is None


def test_a_folder_that_is_gone_does_not_serve(files):
    with pytest.raises(StorageUnavailable, match="no folder that can be written to"):
        files.check()


def test_a_files_age_is_its_time_in_the_store_and_not_its_contents(files, source):
    os.utime(source, (0, 0))
    before = datetime.now(UTC) - timedelta(seconds=1)  # a file system's clock is a little coarse
    files.put("a/b", source)

    [found] = files.walk("a")

    assert before <= found.put_at <= datetime.now(UTC)


def test_a_file_that_is_deleted_during_a_walk_is_left_out(files, tmp_path):
    for key in ("a/1", "a/2"):
        (tmp_path / "one").write_bytes(b"x")
        files.put(key, tmp_path / "one")
    walk = files.walk("a")
    other = {"a/1": "a/2", "a/2": "a/1"}

    files.delete(other[next(walk).key])

    assert list(walk) == []


def test_what_a_put_left_that_broke_off_is_forgotten_once_it_is_old(files, source, tmp_path):
    files.put("a/b", source)
    old, young = (tmp_path / "files/a" / f".unfinished-{age}" for age in ("old", "young"))
    for path in (old, young):
        path.write_bytes(b"half")
    os.utime(old, (0, 0))

    assert [file.key for file in files.walk("a")] == ["a/b"]
    assert files.forget_unfinished(timedelta(hours=1)) == 4
    assert (old.exists(), young.exists()) == (False, True)
    assert files.forget_unfinished(timedelta(hours=1)) == 0
