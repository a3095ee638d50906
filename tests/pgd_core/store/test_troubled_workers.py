"""Devices that cannot be used for now, and workers that come back."""

from __future__ import annotations

from datetime import timedelta

import pytest

from pgd_core.jobs.forecast import WaitReason, forecast
from pgd_core.jobs.machine import Device, Needs, Placement, Worker, WorkerState
from pgd_core.store import SqlQueue, SqlWorkerStore

FULL = "the disk is full"


@pytest.fixture
def workers(engine):
    store = SqlWorkerStore(engine)
    devices = tuple(Device(slot, "H100", f"GPU-{slot}", 80_000) for slot in range(2))
    store.announce(Worker("w", "host", 1, "default", devices, {}))
    return store


def place(engine):
    [found] = forecast(SqlQueue(engine).pool("default"))
    return found


def test_a_worker_with_one_device_less_still_serves_what_fits_the_rest(engine, jobs, workers, spec):
    workers.beat("w", {1: "GPU 1 is used by another"})
    job = jobs.submit(spec)
    assert place(engine).reason is WaitReason.NEXT

    jobs.cancel(job.id)
    jobs.submit(spec, Placement(needs=Needs(2)))
    found = place(engine)
    assert found.reason is WaitReason.WORKER_TROUBLE
    assert found.message == "w: GPU 1 is used by another"


def test_a_worker_all_of_whose_devices_are_in_trouble_serves_nothing(engine, jobs, workers, spec):
    workers.beat("w", {0: FULL, 1: FULL})
    jobs.submit(spec)

    assert (place(engine).reason, place(engine).message) == ("worker_trouble", f"w: {FULL}")
    workers.beat("w")
    assert place(engine).reason is WaitReason.NEXT


def test_a_worker_that_drains_still_drains_when_it_was_lost_for_a_while(workers):
    workers.drain("w")
    workers.mark_lost(timedelta(seconds=-1))
    assert workers.worker("w").state is WorkerState.LOST

    assert workers.beat("w").drain
    assert workers.worker("w").state is WorkerState.DRAINING
    workers.undrain("w")
    workers.mark_lost(timedelta(seconds=-1))
    assert not workers.beat("w").drain
