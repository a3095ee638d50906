"""Packing a local folder, to be sent."""

from __future__ import annotations

import shutil
import tarfile
from pathlib import Path

import pytest

from api.packing import is_archive, packed
from pgd_core.datasets.archives import unpack
from tests.api.sent_datasets import coco_files


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "street"
    for name, content in coco_files().items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


def test_what_is_packed_is_what_the_service_unpacks(folder, tmp_path):
    told = []
    with packed(folder, lambda done, whole: told.append((done, whole))) as archive:
        unpacked = unpack(archive, tmp_path / "out")

    whole = sum(map(len, coco_files().values()))
    assert (unpacked.files, unpacked.bytes) == (len(coco_files()), whole)
    assert (tmp_path / "out" / "val" / "11.png").read_bytes() == coco_files()["val/11.png"]
    assert told[-1] == (whole, whole)
    assert not archive.exists()


def test_links_to_files_go_as_files_and_hidden_ones_stay_here(folder, tmp_path):
    (tmp_path / "elsewhere.png").write_bytes(b"picture")
    (folder / "train" / "linked.png").symlink_to(tmp_path / "elsewhere.png")
    (folder / "train" / "twice.png").hardlink_to(folder / "train" / "1.png")
    (folder / "train" / "gone.png").symlink_to(tmp_path / "nothing")
    (folder / ".git").mkdir()
    (folder / ".git" / "config").write_text("secret")
    (folder / ".env").write_text("secret")

    with packed(folder) as archive, tarfile.open(archive) as tar:
        members = {member.name: member for member in tar.getmembers()}
        linked = tar.extractfile("train/linked.png")
        assert linked is not None
        assert linked.read() == b"picture"

    assert {*members} == {*coco_files(), "train/linked.png", "train/twice.png"}
    assert all(member.isreg() for member in members.values())
    assert {member.uname for member in members.values()} == {""}


def test_a_link_to_a_folder_is_refused(folder, tmp_path):
    (folder / "more").symlink_to(tmp_path)

    with pytest.raises(OSError, match="more is a link to a folder"), packed(folder):
        pass


def test_a_disk_without_room_is_told_before_anything_is_written(folder, monkeypatch):
    full = shutil._ntuple_diskusage(2**30, 2**30, 0)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: full)

    with pytest.raises(OSError, match="set TMPDIR"), packed(folder):
        pass


@pytest.mark.parametrize("name", ["a.zip", "a.tar", "a.tar.gz", "A.TGZ", "a.tar.xz"])
def test_an_archive_is_known_by_its_name(name, tmp_path):
    (tmp_path / name).touch()

    assert is_archive(tmp_path / name)
    assert not is_archive(tmp_path / f"none-{name}")
    (tmp_path / "picture.png").touch()
    assert not is_archive(tmp_path / "picture.png")
