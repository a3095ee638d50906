"""A machine in trouble fails no job: it says so, and rests."""

from __future__ import annotations

import errno
import hashlib
import json
from dataclasses import replace

import pytest

from pgd_core.errors import StorageUnavailable
from pgd_core.jobs.machine import Device, Worker
from tests.worker.conftest import distillation, wait_for
from worker.presence import Presence
from worker.runner import Runner
from worker.slots import Slots

AWAY = "the storage s3://bucket does not serve"
TWO = tuple(Device(slot, "CPU slot", "", 0) for slot in range(2))


class FilesAway:
    """A file store that is away: so many times, or for ever; asked for some methods only."""

    def __init__(self, files, *methods, error=None, times=10**9):
        self._files, self._methods = files, methods
        self._error, self._times = error or StorageUnavailable(AWAY), times

    def __getattr__(self, name):
        method = getattr(self._files, name)
        if name not in self._methods:
            return method

        def asked(*arguments):
            self._times -= 1
            if self._times >= 0:
                raise self._error
            return method(*arguments)

        return asked


def with_slots(world, **options):
    """A runner, and its slots to look at."""
    slots = Slots(world.devices)
    options = replace(world.options, **options)
    return Runner(world.jobs, world.library, world.files, slots, options), slots


def ended(world, job):
    """(state, reason, attempts begun, attempts used up)."""
    job = world.jobs.get(job.id)
    return job.state, job.reason, job.attempt, job.failures


def test_a_storage_that_is_away_fails_no_job_and_the_worker_claims_nothing_more(world):
    world.devices = TWO
    jobs = [distillation(world) for _ in range(5)]
    world.files = FilesAway(world.files, "path")
    runner, slots = with_slots(world)

    assert runner.work() == 1  # what is away is away for all
    assert runner.work() == 0

    assert ended(world, jobs[0]) == ("queued", "worker_trouble", 1, 0)
    assert AWAY in world.jobs.get(jobs[0].id).message
    assert {ended(world, job)[0:3:2] for job in jobs[1:]} == {("queued", 0)}
    assert sorted(slots.troubles()) == [0, 1]


def test_the_queue_is_told_of_the_trouble_in_words(world):
    distillation(world)
    world.files = FilesAway(world.files, "path")
    runner, slots = with_slots(world)
    worker = Worker("worker-1", "host", 1, "default", world.devices, {})
    presence = Presence(
        world.workers, worker, every_s=0.01, troubles=slots.troubles, wake=runner.wake
    )
    with presence:
        told = wait_for(lambda: world.workers.worker("worker-1").trouble)
        runner.shut_down()
    runner.join()

    assert AWAY in told
    assert "nothing is claimed for 5 s" in told


def test_a_data_folder_that_cannot_be_written_fails_no_job(world):
    world.attempts.write_text("no folder, and nothing below it can be made")
    job = world.submit("succeed")
    runner, slots = with_slots(world)

    assert runner.work() == 1

    assert ended(world, job) == ("queued", "worker_trouble", 1, 0)
    assert slots.usable() == ()


@pytest.mark.parametrize("number", [errno.EROFS, errno.EACCES, errno.EIO])
def test_publishing_waits_for_a_storage_that_comes_back(world, number):
    world.files = FilesAway(world.files, "put", error=OSError(number, "not now"), times=3)
    job = world.submit("succeed")
    runner, slots = with_slots(world)
    runner.work()

    assert ended(world, job) == ("succeeded", "completed", 1, 0)
    assert slots.troubles() == {}


class SecondFails:
    """A file store that takes one file, and the next one only at the third try."""

    def __init__(self, files):
        self._files, self._tries = files, []

    def __getattr__(self, name):
        return getattr(self._files, name)

    def put(self, key, source):
        self._tries.append(key)
        if len(self._tries) in (2, 3):
            raise StorageUnavailable(AWAY)
        return self._files.put(key, source)


def test_what_was_published_before_the_storage_went_away_is_not_forgotten(world):
    world.files = SecondFails(world.files)
    job = world.run("succeed")

    stored = {artifact.name: artifact.sha256 for artifact in world.jobs.artifacts(job.id)}
    assert stored == {
        "metrics.json": hashlib.sha256(b"{}").hexdigest(),
        "student.pth": hashlib.sha256(b"weights").hexdigest(),
    }


def test_a_storage_that_stays_away_costs_no_attempt_and_leaves_nothing_half_published(
    world, monkeypatch
):
    monkeypatch.setattr("worker.runner._PATIENCE_S", 0.2)
    there, world.files = world.files, FilesAway(world.files, "put")
    job = world.submit("succeed")
    runner, slots = with_slots(world)
    runner.work()

    assert ended(world, job) == ("queued", "worker_trouble", 1, 0)
    assert world.jobs.artifacts(job.id) == []
    assert slots.usable() == ()

    world.files = there
    world.runner().work()
    assert ended(world, job) == ("succeeded", "completed", 2, 0)


@pytest.mark.parametrize(
    ("ask", "state", "reason"),
    [("cancel", "cancelled", "cancelled_by_user"), ("pause", "paused", "paused_by_user")],
)
def test_nobody_waits_for_a_storage_whose_job_was_asked_to_stop(world, ask, state, reason):
    world.files = FilesAway(world.files, "put")
    job = world.submit("succeed")
    thread = world.start(world.runner())
    wait_for((world.attempts / job.id / "1" / "outcome.json").exists)
    getattr(world.jobs, ask)(job.id)
    thread.join()

    assert ended(world, job) == (state, reason, 1, 0)


def test_a_shutdown_does_not_wait_for_a_storage_that_is_away(world):
    world.files = FilesAway(world.files, "put")
    job = world.submit("succeed")
    runner = world.runner()
    thread = world.start(runner)
    wait_for((world.attempts / job.id / "1" / "outcome.json").exists)
    runner.shut_down()
    thread.join()

    assert ended(world, job) == ("queued", "worker_trouble", 1, 0)


def test_a_full_disk_is_told_at_once_and_tried_again_after_a_rest(world):
    world.files = FilesAway(world.files, "put", error=OSError(errno.ENOSPC, "No space"), times=1)
    job = world.submit("succeed")
    runner, slots = with_slots(world)

    assert runner.work() == 1
    assert ended(world, job) == ("queued", "disk_full", 1, 1)
    assert "No space" in world.jobs.get(job.id).message
    assert slots.usable() == ()

    world.runner().work()
    assert ended(world, job) == ("succeeded", "completed", 2, 1)


def test_a_defect_of_ours_ends_its_own_job_and_no_other(world):
    """Else one job that breaks each worker would stop the queue for ever."""
    broken, fine = distillation(world), world.submit("succeed")
    world.files = FilesAway(world.files, "path", error=KeyError("a mistake"))
    world.runner().work()

    assert ended(world, broken) == ("failed", "worker_lost", 3, 3)
    assert ended(world, fine)[0] == "succeeded"


def test_a_job_that_goes_well_ends_the_row_of_troubles(world, monkeypatch):
    runner, slots = with_slots(world)
    monkeypatch.setattr("worker.rest._FIRST_S", 0.0)
    for _ in range(3):
        slots.rest("in trouble")
    world.submit("succeed")

    assert runner.work() == 1
    monkeypatch.setattr("worker.rest._FIRST_S", 5.0)
    slots.rest("in trouble again")
    [words] = slots.troubles().values()
    assert "for 5 s; 1 in a row" in words


@pytest.mark.parametrize(
    ("does", "reason", "used_up"),
    [("gpu_gone", "worker_trouble", 0), ("gpu_breaks", "gpu_fault", 1)],
)
def test_a_gpu_at_fault_rests_and_the_others_work_on(world, does, reason, used_up):
    world.devices = tuple(Device(slot, "H100", f"GPU-{slot}", 80_000) for slot in range(3))
    broken = world.submit(does)
    runner, slots = with_slots(world)
    runner._run_next()

    assert ended(world, broken) == ("queued", reason, 1, used_up)
    assert list(slots.troubles()) == [0]
    assert world.jobs.get(broken.id).message in slots.troubles()[0]
    world.jobs.cancel(broken.id)
    fine = [world.submit("succeed") for _ in range(2)]
    assert runner.work() == 2
    claims = [
        e.data["slots"] for job in fine for e in world.jobs.events(job.id) if e.kind == "claimed"
    ]
    assert claims == [[1], [1]]


@pytest.mark.parametrize(
    ("stranger", "becomes"),
    [
        ("GPU 0 is used by process 7 (python)", ("queued", "worker_trouble", 1, 0)),
        ("", ("failed", "out_of_memory", 1, 1)),
    ],
)
def test_memory_that_a_stranger_took_meanwhile_is_no_fault_of_the_job(
    world, monkeypatch, stranger, becomes
):
    monkeypatch.setattr("worker.runner._SETTLES_S", 0.0)
    job, seen = world.submit("run_out_of_memory"), []

    def strangers(devices):  # who came when the job had begun
        seen.append(devices)
        return {0: stranger} if stranger and len(seen) > 1 else {}

    slots = Slots(world.devices, strangers)
    runner = Runner(world.jobs, world.library, world.files, slots, world.options)
    runner.work()

    assert ended(world, job) == becomes
    assert stranger in world.jobs.get(job.id).message


def test_a_job_that_breaks_each_gpu_fails_at_last(world):
    world.devices = tuple(Device(slot, "H100", f"GPU-{slot}", 80_000) for slot in range(4))
    job = world.submit("gpu_breaks")

    assert world.runner().work() == 3
    assert ended(world, job) == ("failed", "gpu_fault", 3, 3)


@pytest.mark.parametrize(("uuid", "device"), [("GPU-0", "cuda"), ("MIG-0", "cuda"), ("", "cpu")])
def test_a_trainer_is_told_what_its_slot_is_and_never_to_choose(world, uuid, device):
    """With `auto` it would train on the processor for days where its GPU is gone."""
    world.devices = (Device(0, "H100", uuid, 80_000),)
    job = world.run("succeed")

    run = json.loads((world.attempts / job.id / "1" / "run.json").read_text())
    assert run["device"] == device
