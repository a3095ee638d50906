from __future__ import annotations

import errno
import hashlib
import os
from datetime import UTC, datetime, timedelta

import pytest

from pgd_core.errors import Forbidden, NotFound
from pgd_core.files import LocalFileStore


@pytest.fixture
def files(tmp_path):
    return LocalFileStore(tmp_path / "files")


@pytest.fixture
def source(tmp_path):
    path = tmp_path / "source"
    path.write_bytes(b"weights" * 300_000)  # over one chunk
    return path


def test_a_file_comes_back_with_its_size_and_checksum(files, source):
    content = source.read_bytes()

    size, sha256 = files.put("jobs/1/2/student.pth", source)

    assert (size, sha256) == (len(content), hashlib.sha256(content).hexdigest())
    assert files.path("jobs/1/2/student.pth").read_bytes() == content
    with files.open("jobs/1/2/student.pth") as stored:
        assert stored.read() == content


def test_putting_again_replaces_the_file(files, source):
    files.put("a", source)
    source.write_bytes(b"new")
    files.put("a", source)

    assert files.path("a").read_bytes() == b"new"


def test_a_file_is_moved_so_that_it_takes_its_place_on_the_disk_once(files, source):
    number = source.stat().st_ino
    files.put("a", source)

    assert not source.exists()
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


def test_the_keys_of_a_folder_are_those_of_its_files(files, tmp_path):
    for key in ("jobs/1/b", "jobs/1/a", "jobs/2/c"):
        (tmp_path / "one").write_bytes(b"x")
        files.put(key, tmp_path / "one")

    assert files.keys("jobs/1") == ["jobs/1/a", "jobs/1/b"]
    assert files.keys("jobs/3") == []


def test_a_file_that_cannot_be_taken_leaves_what_was_there_and_nothing_beside_it(
    files, source, tmp_path
):
    content = source.read_bytes()
    files.put("a/b", source)

    with pytest.raises(FileNotFoundError):
        files.put("a/b", tmp_path / "missing")
    with pytest.raises(IsADirectoryError):
        files.put("a/b", tmp_path)

    folder = files.path("a/b").parent
    assert [path.name for path in folder.iterdir()] == ["b"]
    assert files.path("a/b").read_bytes() == content


def test_a_file_that_is_not_there_is_not_found(files):
    with pytest.raises(NotFound):
        files.open("none")
    with pytest.raises(NotFound):
        files.path("none")
    files.delete("none")


def test_a_deleted_file_is_gone(files, source):
    files.put("a", source)
    files.delete("a")

    with pytest.raises(NotFound):
        files.path("a")


def test_a_walk_finds_every_file_at_any_depth_with_its_size(files, tmp_path):
    for key in ("jobs/1/2/b", "jobs/1/a", "jobs/c", "teachers/d"):
        (tmp_path / "one").write_bytes(b"x" * len(key))
        files.put(key, tmp_path / "one")

    found = {file.key: file.size for file in files.walk("jobs")}

    assert found == {"jobs/1/2/b": 10, "jobs/1/a": 8, "jobs/c": 6}
    assert list(files.walk("uploads")) == []


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


@pytest.mark.parametrize(
    "key",
    [
        "",
        "/etc/passwd",
        "../x",
        "a/../../x",
        "a//b",
        "a/",
        "./a",
        ".hidden",
        "a\\b",
        "a\x00",
        "a\n",
    ],
)
def test_a_key_cannot_leave_the_folder(files, source, key):
    for use in (lambda: files.put(key, source), lambda: files.path(key), lambda: files.delete(key)):
        with pytest.raises(Forbidden):
            use()
