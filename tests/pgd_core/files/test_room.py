from __future__ import annotations

import shutil
from types import SimpleNamespace

import pytest

from pgd_core.files.room import lack_of_room

MIB = 2**20


@pytest.fixture
def disks(monkeypatch, tmp_path):
    """Two disks, `roomy` and `full`, with 5000 and 100 MiB free."""
    for name in ("roomy", "full"):
        (tmp_path / name).mkdir()

    def disk_usage(path):
        assert path.exists()
        return SimpleNamespace(free=100 * MIB if "full" in path.parts else 5000 * MIB)

    monkeypatch.setattr(shutil, "disk_usage", disk_usage)
    return tmp_path


def test_a_disk_with_enough_room_is_fine(disks):
    assert lack_of_room([disks / "roomy"], 5000 * MIB) == ""


def test_a_disk_with_too_little_is_named_with_what_is_free_and_wanted(disks):
    found = lack_of_room([disks / "roomy", disks / "full"], 2048 * MIB)

    assert found == (
        f"the disk of {disks / 'full'} has 100 MiB free; 2048 MiB are wanted (PGD_MIN_FREE_BYTES)"
    )


def test_a_folder_that_is_yet_to_be_made_counts_on_its_parents_disk(disks):
    assert "100 MiB free" in lack_of_room([disks / "full" / "a" / "b"], 101 * MIB)


def test_zero_is_no_mark(disks):
    assert lack_of_room([disks / "full"], 0) == ""


def test_the_real_disk_is_asked(tmp_path):
    assert lack_of_room([tmp_path], 1) == ""
    assert str(tmp_path) in lack_of_room([tmp_path], 2**80)
