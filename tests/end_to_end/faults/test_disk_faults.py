"""A disk without room, at a checkpoint and at publishing: a small one that only the worker sees."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from pgd_core.jobs.job import Reason
from tests.end_to_end.faults.mounts import in_the_world_of, may_mount, with_a_disk_at
from tests.end_to_end.faults.service import Process, Service, wait_for
from tests.end_to_end.faults.trainer import Plan
from tests.end_to_end.faults.verdict import check

DISK_FULL = "disk_full"

pytestmark = [
    pytest.mark.skipif(not may_mount(), reason="no file system can be mounted here"),
    pytest.mark.skipif(DISK_FULL not in set(Reason), reason="a full disk has no reason yet"),
    pytest.mark.parametrize("database", ["sqlite"], indirect=True),
]


def on_a_small_disk(service: Service, name: str) -> tuple[Process, Path]:
    """A worker whose data folder's subfolder holds 2 MiB, and that subfolder as it sees it."""
    folder = service.data / name
    folder.mkdir(parents=True, exist_ok=True)
    worker = service.worker(before=with_a_disk_at(folder))
    return worker, Path(f"/proc/{worker.pid}/root{folder}")


def fill(folder: Path, room: int) -> Path:
    filler = folder / "filler"
    filler.write_bytes(bytes(shutil.disk_usage(folder).free - room))
    return filler


@pytest.mark.parametrize("room", [300_000, 0])
def test_a_checkpoint_without_room_ends_the_attempt_and_with_room_it_goes_on(
    service: Service, room: int
) -> None:
    """With no room at all not even the outcome can be written."""
    service.gates.close("step")
    _, disk = on_a_small_disk(service, "attempts")
    # A busy machine may take several attempts to make room again.
    job = service.submit(Plan(checkpoint_kb=400), max_attempts=50)
    wait_for(lambda: service.gates.reached("step"))
    filler = fill(disk, room)
    service.gates.open("step")
    requeued = wait_for(
        lambda: [e for e in service.jobs.events(job.id) if e.kind in ("requeued", "failed")]
    )
    filler.unlink()

    assert requeued[0].data["reason"] == DISK_FULL
    check(service, job)
    resumed = [note["step"] for note in service.ledger(job) if note["what"] == "resumed"]
    assert resumed[-1] == 5


def test_publishing_without_room_ends_the_attempt_and_leaves_no_half_of_a_file(
    service: Service,
) -> None:
    service.gates.close("before-put")
    worker, disk = on_a_small_disk(service, "files")
    job = service.submit(Plan(outputs_kb=400), max_attempts=50)
    wait_for(lambda: service.gates.reached("before-put"))
    filler = fill(disk, 100_000)
    service.gates.open("before-put")
    requeued = wait_for(
        lambda: [e for e in service.jobs.events(job.id) if e.kind in ("requeued", "failed")]
    )
    filler.unlink()

    assert requeued[0].data["reason"] == DISK_FULL
    job = service.until_ended(job)
    assert job.state == "succeeded"
    published = sorted(path for path in disk.rglob("*") if path.is_file())
    keys = [artifact.key for artifact in service.jobs.artifacts(job.id)]
    assert published == [disk / key for key in keys]
    assert worker.alive()


def test_a_data_folder_that_becomes_read_only_fails_no_job_and_the_queue_says_why(
    service: Service,
) -> None:
    worker, _ = on_a_small_disk(service, "attempts")
    [name] = [worker.name for worker in service.workers.workers()]
    attempts = str(service.data / "attempts")
    in_the_world_of(worker, "mount", "-o", "remount,ro", attempts)
    jobs = [service.submit(Plan(gate_at=0, tag=tag)) for tag in range(3)]
    wait_for(lambda: "Read-only file system" in service.workers.worker(name).trouble)
    in_the_world_of(worker, "mount", "-o", "remount,rw", attempts)

    ended = [check(service, job) for job in jobs]
    assert [job.failures for job in ended] == [0, 0, 0]
    requeued = [e for job in jobs for e in service.jobs.events(job.id) if e.kind == "requeued"]
    assert {event.data["reason"] for event in requeued} == {"worker_trouble"}
