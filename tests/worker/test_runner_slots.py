"""A worker's devices among several jobs."""

from __future__ import annotations

import json

from pgd_core.jobs.job import JobState
from pgd_core.jobs.machine import Device
from tests.worker.conftest import living, wait_for
from worker.runner import Runner
from worker.slots import Slots

FOUR = tuple(Device(slot, "CPU slot", f"U{slot}", 0) for slot in range(4))


def stop_all(world, jobs, runner):
    for job in jobs:
        world.jobs.cancel(job.id)
    runner.join()


def test_a_worker_with_four_slots_runs_four_jobs_at_once(world):
    world.devices = FOUR
    jobs = [world.submit("gentle") for _ in range(5)]
    runner = world.runner()
    for _ in range(6):
        runner.wake()

    wait_for(lambda: sum(bool(world.jobs.get(job.id).progress) for job in jobs) == 4)

    running = [world.jobs.get(job.id) for job in jobs[:4]]
    assert [job.state for job in running] == ["running"] * 4
    assert sorted(slot for job in running for slot in job.slots) == [0, 1, 2, 3]
    assert world.jobs.get(jobs[4].id).state == "queued"
    stop_all(world, jobs, runner)
    assert {world.jobs.get(job.id).state for job in jobs} == {JobState.CANCELLED}


def test_slots_that_come_free_are_used_again(world):
    world.devices = FOUR[:2]
    held = world.submit("gentle")
    runner = world.runner()
    runner.wake()
    world.wait_until_training(held)
    jobs = [world.submit("succeed") for _ in range(3)]

    assert runner.work() == 3

    claims = [
        event for job in jobs for event in world.jobs.events(job.id) if event.kind == "claimed"
    ]
    assert [claim.data["slots"] for claim in claims] == [[1], [1], [1]]
    stop_all(world, [held], runner)


def test_a_job_that_breaks_gives_its_slots_back(world):
    world.devices = FOUR[:2]
    for _ in range(3):
        world.submit("crash", gpus=1)

    assert world.runner().work() == 3


def test_a_job_of_two_slots_runs_as_two_processes_that_see_its_devices_alone(world):
    world.devices = FOUR
    held = world.submit("gentle")
    job = world.submit("tell_rank", gpus=2)
    runner = world.runner(
        environment=lambda devices: {"VISIBLE": ",".join(d.uuid for d in devices)}
    )
    runner.wake()
    world.wait_until_training(held)

    assert runner.work() == 1

    done = world.jobs.get(job.id)
    assert done.state is JobState.SUCCEEDED, done.message
    told = [
        json.loads(world.files.path(f"jobs/{job.id}/1/rank-{rank}.json").read_text())
        for rank in (0, 1)
    ]
    marker = f"{job.id}/1"
    assert told == [
        {"RANK": rank, "WORLD_SIZE": "2", "VISIBLE": "U1,U2", "PGD_TRAINER": marker}
        for rank in ("0", "1")
    ]
    assert living(job) == []
    stop_all(world, [held], runner)


def test_a_job_of_more_slots_than_are_free_waits_for_all_of_them(world):
    world.devices = FOUR[:2]
    held, large = world.submit("gentle"), world.submit("tell_rank", gpus=2)
    runner = world.runner()
    runner.wake()
    world.wait_until_training(held)

    assert runner.work() == 0
    assert world.jobs.get(large.id).state is JobState.QUEUED
    stop_all(world, [held, large], runner)


def test_a_worker_in_trouble_claims_nothing_until_it_is_over(world):
    job = world.submit("succeed")
    troubles = {0: "only 5 bytes are free"}
    runner = Runner(
        world.jobs,
        world.library,
        world.files,
        Slots(world.devices, lambda _: troubles),
        world.options,
    )
    runner.wake()
    runner.join()
    assert runner.work() == 0
    assert world.jobs.get(job.id).state is JobState.QUEUED

    troubles.clear()
    assert runner.work() == 1


def test_a_runner_that_shuts_down_is_woken_no_more(world):
    job = world.submit("succeed")
    runner = world.runner()
    runner.shut_down()
    runner.wake()
    runner.join()

    assert world.jobs.get(job.id).state is JobState.QUEUED
