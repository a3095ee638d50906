from __future__ import annotations

import os
from datetime import timedelta

import pytest

from pgd_core.jobs.datasets import contact_sheet_key
from pgd_core.store.housekeeping import SqlHousekeeping
from tests.worker.conftest import make_old
from worker.broom import Broom
from worker.sweep_datasets import sweep_datasets
from worker.sweep_files import sweep_files

HOUR, DAY = timedelta(hours=1), timedelta(days=1)


@pytest.fixture
def clean(world):
    """Sweeps the data folder and the file store once."""

    def once():
        broom, rows = Broom(), SqlHousekeeping(world.engine)
        sweep_datasets(world.folder, rows, broom)
        sweep_files(world.files, rows, 7 * DAY, broom)
        return broom

    return once


def folder(world, name, age=2 * DAY):
    """A folder below `datasets` with four bytes in it."""
    path = world.folder / "datasets" / name
    (path / "train").mkdir(parents=True)
    (path / "train" / "1.jpg").write_bytes(b"1234")
    make_old(path, age)
    return path


def sheet(world, dataset_id, age=2 * DAY):
    (world.folder / "one").write_bytes(b"1234")
    world.files.put(contact_sheet_key(dataset_id), world.folder / "one")
    make_old(world.files.path(contact_sheet_key(dataset_id)), age)
    return contact_sheet_key(dataset_id)


def test_what_a_row_names_stays_however_old_and_in_whatever_state(world, clean):
    ready = world.add_dataset()
    checking = world.library.add_dataset("x").id
    kept = [folder(world, name, 400 * DAY) for name in (ready, checking)]
    key = sheet(world, ready, 400 * DAY)

    assert clean().deleted == 0
    assert all((path / "train" / "1.jpg").exists() for path in kept)
    assert list(world.files.keys(f"datasets/{ready}")) == [key]


def test_what_no_row_names_goes_after_a_day(world, clean):
    known, deleted = world.add_dataset(), world.add_dataset()
    world.library.delete_dataset(deleted)
    kept, gone = folder(world, known), folder(world, deleted)
    sheet(world, deleted)
    young = folder(world, "young", 23 * HOUR)
    folder(world, f"{known}-2")

    for _ in range(2):
        (world.attempts / world.submit("succeed").id).mkdir(parents=True)
    sheet(world, known)
    broom = clean()

    assert (kept.exists(), young.exists(), gone.exists()) == (True, True, False)
    assert world.files.keys(f"datasets/{deleted}") == []
    assert (broom.deleted, broom.freed_bytes) == (3, 12)


def test_a_half_unpacked_one_goes_after_a_day_and_the_lock_stays(world, clean):
    known = world.add_dataset()
    folder(world, known)
    old = folder(world, f".{known}.unfinished")
    young = folder(world, ".young.unfinished", HOUR)
    lock = world.folder / "datasets" / ".lock"
    lock.touch()
    make_old(lock, 400 * DAY)

    clean()

    assert (old.exists(), young.exists(), lock.exists()) == (False, True, True)


def test_what_a_deletion_left_goes_whatever_the_database_knows(world, clean):
    old, young = folder(world, ".a.deleted", 2 * HOUR), folder(world, ".b.deleted", HOUR / 2)

    clean()

    assert (old.exists(), young.exists()) == (False, True)


def test_a_database_that_knows_fewer_than_half_deletes_nothing(world, clean):
    folder(world, world.dataset)
    strange = [folder(world, name) for name in ("a", "b")]

    assert clean().deleted == 0
    assert all(path.exists() for path in strange)


def test_a_link_in_the_place_of_a_folder_is_deleted_and_not_followed(world, clean, tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "kept").write_text("kept")
    folder(world, world.dataset)
    (world.folder / "datasets" / "link").symlink_to(outside)

    os.utime(world.folder / "datasets" / "link", (0, 0), follow_symlinks=False)

    assert clean().deleted == 1
    assert (outside / "kept").read_text() == "kept"
