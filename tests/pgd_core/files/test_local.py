from __future__ import annotations

import errno
import hashlib
from datetime import timedelta

import pytest

from pgd_core.errors import StorageUnavailable
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


def test_a_folder_has_no_links_for_others(files, source):
    files.put("a", source)

    assert files.link("a", "a.bin", "text/plain", timedelta(minutes=1)) is None


def test_a_folder_that_is_gone_does_not_serve(files):
    with pytest.raises(StorageUnavailable, match="no folder that can be written to"):
        files.check()
