from __future__ import annotations

import os
import shutil
from datetime import timedelta

import pytest

from pgd_core.files.leftovers import delete_idle

HOUR = timedelta(hours=1)


@pytest.fixture
def folder(tmp_path):
    """An old folder with eleven bytes in it."""
    folder = tmp_path / "folder"
    (folder / "inner").mkdir(parents=True)
    (folder / "a").write_bytes(b"12345")
    (folder / "inner" / "b").write_bytes(b"123456")
    for path in (folder / "a", folder / "inner" / "b", folder / "inner", folder):
        os.utime(path, (0, 0))
    return folder


def test_an_idle_folder_is_deleted_and_its_bytes_are_told(folder):
    assert delete_idle(folder, HOUR) == 11
    assert not folder.exists()


def test_a_folder_in_which_anything_changed_lately_is_left_alone(folder):
    os.utime(folder / "inner" / "b")

    assert delete_idle(folder, HOUR) is None
    assert (folder / "a").exists()
    assert delete_idle(folder, timedelta(0)) == 11


def test_a_file_is_deleted_likewise(folder):
    assert delete_idle(folder / "a", HOUR) == 5
    assert delete_idle(folder / "a", HOUR) is None


def test_a_link_is_deleted_and_what_it_leads_to_is_not(folder, tmp_path):
    kept = tmp_path / "kept"
    kept.mkdir()
    (kept / "file").write_bytes(b"1234567")
    (folder / "link").symlink_to(kept)
    (tmp_path / "other").symlink_to(kept)

    assert delete_idle(folder, timedelta(0)) == 11
    assert delete_idle(tmp_path / "other", timedelta(0)) == 0
    assert (kept / "file").exists()
    assert not (tmp_path / "other").is_symlink()


def test_two_who_delete_the_same_folder_do_each_other_no_harm(folder, monkeypatch):
    rmtree = shutil.rmtree

    def half_deleted_by_another(path):
        monkeypatch.setattr(shutil, "rmtree", rmtree)
        (path / "a").unlink()
        raise FileNotFoundError(path / "a")

    monkeypatch.setattr(shutil, "rmtree", half_deleted_by_another)

    assert delete_idle(folder, HOUR) == 11
    assert not folder.exists()


def test_what_cannot_be_deleted_is_an_error(folder, monkeypatch):
    def refused(path):
        raise PermissionError(path)

    monkeypatch.setattr(shutil, "rmtree", refused)

    with pytest.raises(PermissionError):
        delete_idle(folder, HOUR)
