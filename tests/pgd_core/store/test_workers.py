"""Who serves the pools."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest

from pgd_core.errors import IllegalMove, NotFound
from pgd_core.jobs.job import Reason
from pgd_core.jobs.machine import Device, Worker

MINUTE, DAY = timedelta(minutes=1), timedelta(days=1)


def state(cluster, name="w"):
    return cluster.workers.worker(name).state


def test_a_worker_is_stored_as_it_announced_itself(cluster):
    devices = (Device(0, "NVIDIA H100 80GB HBM3", "GPU-1", 81559), Device(1, "CPU slot", "", 0))
    cluster.workers.announce(Worker("w", "node-1", 77, "gpu", devices, {"torch": "2.13.0"}))

    worker = cluster.workers.worker("w")

    assert (worker.host, worker.pid, worker.pool, worker.devices) == ("node-1", 77, "gpu", devices)
    assert (worker.versions, worker.state, worker.trouble) == ({"torch": "2.13.0"}, "active", "")
    assert worker.started_at is not None
    assert worker.seen_at is not None


def test_a_worker_that_announces_itself_again_is_one_and_active(cluster):
    cluster.worker("w")
    cluster.workers.stopped("w")
    cluster.worker("w", 2)

    [worker] = cluster.workers.workers(gone_too=True)
    assert (worker.state, len(worker.devices)) == ("active", 2)


def test_workers_are_listed_by_pool_and_name_without_those_that_left(cluster):
    for name, pool in (("b", "x"), ("a", "y"), ("a2", "x"), ("gone", "x")):
        cluster.worker(name, pool=pool)
    cluster.workers.stopped("gone")

    assert [worker.name for worker in cluster.workers.workers()] == ["a2", "b", "a"]
    assert len(cluster.workers.workers(gone_too=True)) == 4


def test_an_unknown_worker_is_not_found(cluster):
    for ask in (
        cluster.workers.worker,
        cluster.workers.drain,
        cluster.workers.undrain,
        cluster.workers.beat,
    ):
        with pytest.raises(NotFound, match="no worker 'w'"):
            ask("w")


# Heartbeats


def test_a_beat_brings_trouble_in_and_orders_out(cluster):
    cluster.worker("w")
    orders = cluster.workers.beat("w", {0: "the disk is full"})
    assert (orders.drain, orders.waiting) == (False, False)
    worker = cluster.workers.worker("w")
    assert (worker.trouble, worker.unusable) == ("the disk is full", (0,))

    cluster.submit()
    cluster.workers.drain("w")
    orders = cluster.workers.beat("w")
    assert (orders.drain, orders.waiting) == (True, True)
    worker = cluster.workers.worker("w")
    assert (worker.trouble, worker.unusable) == ("", ())


def test_work_waits_when_a_job_is_queued_in_the_worker_s_own_pool(cluster):
    cluster.worker("w")
    cluster.submit(pool="other")
    cluster.submit(kind="study")
    assert not cluster.workers.beat("w").waiting

    cluster.submit()
    assert cluster.workers.beat("w").waiting
    cluster.claim("w")
    assert not cluster.workers.beat("w").waiting


# Draining


def test_draining_can_be_asked_for_twice_and_taken_back(cluster):
    cluster.worker("w")

    assert cluster.workers.drain("w").state == "draining"
    assert cluster.workers.drain("w").state == "draining"
    cluster.workers.beat("w")
    assert state(cluster) == "draining"
    assert cluster.workers.undrain("w").state == "active"


@pytest.mark.parametrize("gone", ["stopped", "lost"])
def test_a_worker_that_is_gone_cannot_be_drained(cluster, gone):
    cluster.worker("w")
    if gone == "stopped":
        cluster.workers.stopped("w")
    else:
        cluster.pass_time(hours=1)
        cluster.workers.mark_lost(MINUTE)

    with pytest.raises(IllegalMove, match=f"worker w is {gone}"):
        cluster.workers.drain("w")
    with pytest.raises(IllegalMove):
        cluster.workers.undrain("w")


# Lost


def test_a_silent_worker_is_lost_once_and_a_beat_brings_it_back(cluster):
    cluster.worker("silent")
    cluster.worker("draining")
    cluster.workers.drain("draining")
    cluster.worker("left")
    cluster.workers.stopped("left")
    cluster.pass_time(hours=1)
    cluster.worker("fresh")

    lost = cluster.workers.mark_lost(MINUTE)

    assert sorted(worker.name for worker in lost) == ["draining", "silent"]
    assert cluster.workers.mark_lost(MINUTE) == []
    assert (state(cluster, "left"), state(cluster, "fresh")) == ("stopped", "active")
    cluster.workers.beat("silent")
    assert state(cluster, "silent") == "active"


def test_a_worker_that_beats_in_time_is_not_lost(cluster):
    cluster.worker("w")
    cluster.pass_time(hours=1)
    cluster.workers.beat("w")

    assert cluster.workers.mark_lost(MINUTE) == []


def test_a_lost_worker_s_devices_are_not_counted_on(cluster):
    cluster.worker("w", 8)
    cluster.pass_time(hours=1)
    cluster.workers.mark_lost(MINUTE)
    cluster.worker("small", 1)
    cluster.submit(gpus=8)
    small = cluster.submit()

    assert cluster.claimed("small") == small


def test_a_beat_after_goodbye_changes_nothing(cluster):
    cluster.worker("w")
    cluster.workers.stopped("w")
    cluster.workers.beat("w")

    assert state(cluster) == "stopped"


def test_the_machines_that_served_a_pool_are_told_once_each(cluster):
    gpus = (Device(0, "H100", "GPU-1", 81_559), Device(1, "H100", "GPU-2", 81_559))
    for name, pool, devices in (
        ("a", "gpu", gpus),
        ("b", "gpu", gpus),
        ("c", "gpu", (gpus[0],)),
        ("d", "cpu", (Device(0, "CPU slot", "", 0),)),
    ):
        cluster.workers.announce(Worker(name, "host", 1, pool, devices, {}))
        cluster.workers.stopped(name)

    assert sorted(cluster.workers.machines("gpu"), key=len) == [(gpus[0],), gpus]
    assert cluster.workers.machines("none") == []


# Forgotten


def test_a_worker_that_is_gone_for_long_is_forgotten_and_one_that_lives_or_left_of_late_is_not(
    cluster,
):
    for name in ("stopped", "lost", "alive", "draining"):
        cluster.worker(name)
    cluster.workers.stopped("stopped")
    cluster.pass_time(hours=8 * 24)
    for name in ("alive", "draining"):
        cluster.workers.beat(name)
    cluster.workers.drain("draining")
    cluster.workers.mark_lost(MINUTE)
    for name in ("just left", "just lost"):
        cluster.worker(name)
    cluster.pass_time(hours=6 * 24)
    cluster.workers.stopped("just left")
    cluster.workers.mark_lost(MINUTE)
    for name in ("alive", "draining"):
        cluster.workers.beat(name)

    assert cluster.workers.forget(7 * DAY) == ["lost", "stopped"]

    left = {worker.name: worker.state for worker in cluster.workers.workers(gone_too=True)}
    assert left == {
        "alive": "active",
        "draining": "draining",
        "just left": "stopped",
        "just lost": "lost",
    }
    assert cluster.workers.forget(7 * DAY) == []


def test_the_first_mark_of_a_data_folder_is_the_one_that_all_share(cluster):
    assert cluster.workers.shared_folder("a") == "a"
    assert cluster.workers.shared_folder("b") == "a"


def test_processes_that_start_together_agree_on_one_mark(cluster):
    marks = [str(number) for number in range(8)]
    with ThreadPoolExecutor(8) as threads:
        agreed = set(threads.map(cluster.workers.shared_folder, marks))

    assert len(agreed) == 1


def test_a_worker_is_remembered_while_it_holds_a_job_and_no_longer(cluster):
    cluster.worker("w")
    cluster.submit()
    claim = cluster.run("w")
    cluster.pass_time(hours=8 * 24)
    cluster.workers.mark_lost(MINUTE)
    assert cluster.workers.forget(7 * DAY) == []

    cluster.jobs.finish(claim, Reason.COMPLETED)

    assert cluster.workers.forget(7 * DAY) == ["w"]
    assert cluster.jobs.events(claim.job_id)[-1].by == "w"


def test_a_forgotten_workers_gpus_are_not_counted_on(cluster):
    cluster.worker("old", 8)
    cluster.pass_time(hours=8 * 24)
    cluster.workers.mark_lost(MINUTE)
    cluster.worker("new", 1)
    cluster.workers.forget(7 * DAY)

    assert [len(devices) for devices in cluster.workers.machines("default")] == [1]
