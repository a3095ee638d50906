"""Bringing in data sets that were sent: killed, doubled, from S3."""

from __future__ import annotations

import fcntl
import shutil
import sys
import threading
from datetime import UTC, datetime

import pytest
from structlog.testing import capture_logs

from pgd_core.jobs.job import Upload
from tests.api.sent_datasets import coco_files, zipped
from tests.worker.conftest import checks_of, wait_for
from worker.checks import Checker
from worker.dataset_sources import DatasetSources, NotNow

GIVE_UP = (sys.executable, "-c", "import time; time.sleep(600)")


def sent(world, content=None):
    """A data set whose archive was uploaded."""
    name = str(len(world.library.datasets()))
    (world.folder / "sent").write_bytes(content or zipped(coco_files()))
    size, sha256 = world.files.put(f"uploads/{name}", world.folder / "sent")
    upload = Upload(name, "set.zip", size, sha256, f"uploads/{name}", datetime.now(UTC))
    world.library.add_upload(upload)
    return world.library.add_dataset("sent", upload=name)


def sources(world, **options):
    return DatasetSources(world.library, world.files, world.folder / "datasets", **options)


def checker(world, **options):
    checks = world.folder / "checks"
    return Checker(world.library, world.files, checks, sources=sources(world, **options))


def left(world):
    """What lies in `datasets` and in the scratch of the checks."""
    names = [path.name for path in (world.folder / "datasets").glob("*") if path.name != ".lock"]
    return sorted(names + [path.name for path in (world.folder / "checks").glob("*")])


def test_a_check_that_is_stopped_while_it_unpacks_is_done_again_whole(world):
    dataset = sent(world)
    hanging = checker(world, unpack=GIVE_UP)
    thread = threading.Thread(target=hanging.check_all)
    thread.start()
    wait_for(lambda: checks_of(dataset.id))
    hanging.stop()
    thread.join()

    assert (world.library.dataset(dataset.id).state, left(world)) == ("checking", [])
    checker(world).check_all()
    assert world.library.dataset(dataset.id).state == "ready"
    assert left(world) == [dataset.id]


def test_one_that_is_deleted_while_it_unpacks_leaves_nothing_and_holds_up_no_other(world):
    dataset = sent(world)
    hanging = checker(world, unpack=GIVE_UP)
    thread = threading.Thread(target=hanging.check_all)
    thread.start()
    wait_for(lambda: checks_of(dataset.id))
    world.library.delete_dataset(dataset.id)
    thread.join(timeout=60)
    hanging.stop()

    assert not thread.is_alive()
    assert checks_of(dataset.id) == []
    assert left(world) == []


def test_what_a_killed_process_left_half_or_whole_is_replaced(world):
    dataset = sent(world)
    for name in (dataset.id, f".{dataset.id}.unfinished"):
        (world.folder / "datasets" / name / "train").mkdir(parents=True)
        (world.folder / "datasets" / name / "train" / "half.jpg").write_bytes(b"half")

    checker(world).check_all()

    assert world.library.dataset(dataset.id).state == "ready"
    assert left(world) == [dataset.id]
    assert not (world.folder / "datasets" / dataset.id / "train" / "half.jpg").exists()


def test_one_that_was_unpacked_before_the_process_died_is_only_checked(world):
    dataset = sent(world)
    scratch = world.folder / "checks"
    scratch.mkdir()
    there = sources(world).bring_in(dataset, scratch, lambda: False)
    world.files.delete(f"uploads/{dataset.upload}")  # nothing asks for it again

    checker(world).check_all()

    assert there is not None
    assert world.library.dataset(dataset.id).state == "ready"


def test_another_reconciler_at_it_is_waited_for(world):
    dataset = sent(world)
    (world.folder / "datasets").mkdir()
    with (world.folder / "datasets" / ".lock").open("a") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        checker(world).check_all()
        assert world.library.dataset(dataset.id).state == "checking"

    checker(world).check_all()
    assert world.library.dataset(dataset.id).state == "ready"


def test_two_reconcilers_side_by_side_bring_it_in_once(world):
    datasets = [sent(world) for _ in range(2)]
    threads = [threading.Thread(target=checker(world).check_all) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    checker(world).check_all()  # what one left because the other was at it

    assert [world.library.dataset(d.id).state for d in datasets] == ["ready", "ready"]
    assert left(world) == sorted(d.id for d in datasets)


def test_a_disk_below_its_mark_is_no_fault_of_the_data_set(world):
    dataset = sent(world)
    full = sources(world, min_free_bytes=2**60)

    with pytest.raises(NotNow, match="PGD_MIN_FREE_BYTES"):
        full.bring_in(dataset, world.folder, lambda: False)
    assert world.library.dataset(dataset.id).state == "checking"


def test_who_waits_for_room_is_told_so_once(world):
    dataset = sent(world)
    waiting = checker(world, min_free_bytes=2**60)

    with capture_logs() as logged:
        for _ in range(3):
            waiting.check_all()

    assert [line["event"] for line in logged] == ["check_waits"]
    assert "PGD_MIN_FREE_BYTES" in world.library.dataset(dataset.id).progress["stage"]


def test_an_archive_over_the_room_that_is_left_is_refused_with_its_size(world):
    dataset = sent(world)
    free = shutil.disk_usage(world.folder).free
    tight = sources(world, min_free_bytes=free - 2**23)
    tight._room = lambda: 5000  # between the archive's members

    checker_ = Checker(world.library, world.files, world.folder / "checks", sources=tight)
    checker_.check_all()

    rejected = world.library.dataset(dataset.id)
    assert rejected.state == "rejected"
    assert "over 5000 bytes, all the room" in rejected.report["errors"][0]["message"]
    assert left(world) == []


def test_one_that_is_unpacked_and_then_found_faulty_leaves_no_pictures(world):
    files = coco_files(lambda content: content["annotations"][0].update(bbox=[0, 0, -1, 5]))
    dataset = sent(world, zipped(files))

    checker(world).check_all()

    rejected = world.library.dataset(dataset.id)
    assert rejected.report["errors"][0]["code"] == "bad_box"
    assert left(world) == []
