"""What every file store does, on a folder and on a real server that speaks S3."""

from __future__ import annotations

import hashlib
from datetime import UTC, timedelta

import pytest

from pgd_core.errors import Forbidden, NotFound
from pgd_core.files import open_files
from pgd_core.settings import Settings


@pytest.fixture(params=["folder", "s3"])
def files(request, tmp_path, monkeypatch):
    if request.param == "folder":
        return open_files(Settings(data_folder=tmp_path / "data"))
    bucket = request.getfixturevalue("s3_server").bucket(monkeypatch)
    return open_files(Settings(data_folder=tmp_path / "data", files_url=f"s3://{bucket}/a/prefix"))


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
    assert files.path("jobs/1/2/student.pth").suffix == ".pth"
    with files.open("jobs/1/2/student.pth") as stored:
        assert stored.read() == content


def test_a_file_that_was_put_is_gone_from_where_it_was(files, source):
    files.put("a", source)

    assert not source.exists()


def test_an_empty_file_is_a_file(files, source):
    source.write_bytes(b"")

    assert files.put("a", source) == (0, hashlib.sha256().hexdigest())
    assert files.path("a").read_bytes() == b""


def test_putting_again_replaces_the_file(files, source):
    files.put("a", source)
    files.path("a")
    source.write_bytes(b"new")
    files.put("a", source)

    assert files.path("a").read_bytes() == b"new"


def test_the_keys_of_a_folder_are_those_of_its_files(files, tmp_path):
    for key in ("jobs/1/b", "jobs/1/a", "jobs/2/c", "jobs/1/deeper/d", "jobs/11/e"):
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

    assert files.keys("a") == ["a/b"]
    assert files.path("a/b").read_bytes() == content


def test_a_file_that_is_not_there_is_not_found(files, source):
    files.put("another", source)
    with pytest.raises(NotFound):
        files.open("none")
    with pytest.raises(NotFound):
        files.path("none")
    files.delete("none")


def test_a_deleted_file_is_gone_though_it_was_fetched_before(files, source):
    another = source.with_name("another")
    another.write_bytes(b"more")
    files.put("another", another)
    files.put("a", source)
    files.path("a")
    files.delete("a")

    with pytest.raises(NotFound):
        files.path("a")


def test_a_store_that_serves_says_so(files):
    assert files.check()


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
        "ä",
        "a?b",
        "x" * 256,
    ],
)
def test_a_key_cannot_leave_the_store(files, source, key):
    for use in (
        lambda: files.put(key, source),
        lambda: files.path(key),
        lambda: files.open(key),
        lambda: files.keys(key),
        lambda: files.delete(key),
        lambda: files.link(key, "a", "text/plain", timedelta(minutes=1)),
    ):
        with pytest.raises(Forbidden):
            use()
    assert source.exists()


def test_a_walk_finds_every_file_at_any_depth_with_its_size(files, tmp_path):
    for key in ("jobs/1/2/b", "jobs/1/a", "jobs/c", "teachers/d"):
        (tmp_path / "one").write_bytes(b"x" * len(key))
        files.put(key, tmp_path / "one")

    found = {file.key: file.size for file in files.walk("jobs")}

    assert found == {"jobs/1/2/b": 10, "jobs/1/a": 8, "jobs/c": 6}
    assert list(files.walk("uploads")) == []
    assert all(file.put_at.tzinfo is UTC for file in files.walk("jobs"))


def test_what_is_not_broken_off_is_not_forgotten(files, source):
    files.put("a/b", source)

    assert files.forget_unfinished(timedelta(0)) == 0
    assert [file.key for file in files.walk("a")] == ["a/b"]
