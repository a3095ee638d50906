"""A machine without the shares that the others have fails no job: it says so, and rests."""

from __future__ import annotations

import pytest

from pgd_core.files.shares import DataFolder
from pgd_core.jobs.machine import ONE_CPU_SLOT
from pgd_core.settings import Settings
from tests.worker.test_worker_trouble import ended, with_slots
from worker.main import troubles


@pytest.fixture
def root(world):
    """A folder of data sets, and in it the world's own."""
    root = world.folder / "datasets"
    root.mkdir()
    (root / "t.json").write_text("{}")
    world.dataset = world.add_dataset(root=str(root))
    return root


def test_a_data_set_whose_share_is_not_mounted_fails_no_job(world, root):
    (root / "t.json").unlink()
    job = world.submit("succeed")
    runner, slots = with_slots(world, dataset_roots=(root,))

    assert runner.work() == 1

    assert ended(world, job) == ("queued", "worker_trouble", 1, 0)
    assert f"{root} is empty or missing" in slots.troubles()[0]


def test_a_share_that_goes_away_while_its_data_is_read_fails_no_job(world, root):
    job = world.submit("lose_data")
    runner, slots = with_slots(world, dataset_roots=(root,))

    assert runner.work() == 1

    assert ended(world, job) == ("queued", "worker_trouble", 1, 0)
    assert "is its share mounted" in slots.troubles()[0]


def test_a_data_set_that_is_gone_while_its_share_is_there_fails_its_job(world, root):
    (root / "another").touch()
    job = world.submit("lose_data")
    runner, slots = with_slots(world, dataset_roots=(root,))
    runner.work()

    assert ended(world, job) == ("failed", "bad_dataset", 1, 1)
    assert slots.troubles() == {}


def test_a_worker_with_another_data_folder_has_nothing_to_offer(world, tmp_path):
    settings = Settings(data_folder=tmp_path / "mine", min_free_bytes=0, device="cpu")
    first = DataFolder(tmp_path / "shared", world.workers.shared_folder)
    assert first.trouble() == ""

    folder = DataFolder(settings.data_folder, world.workers.shared_folder)
    told = troubles(settings, folder, (ONE_CPU_SLOT,))

    assert "is not the data folder of this database" in told[ONE_CPU_SLOT.slot]
