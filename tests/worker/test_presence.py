"""A worker's own heartbeat, on a real database."""

from __future__ import annotations

from datetime import timedelta

import pytest
from sqlalchemy import delete

from pgd_core.jobs.machine import ONE_CPU_SLOT, Worker
from pgd_core.store.engine import writing
from pgd_core.store.tables import WorkerRow
from tests.worker.conftest import wait_for
from worker.presence import Presence

WORKER = Worker("worker-1", "host", 1, "default", (ONE_CPU_SLOT,), {"pgd": "0"})
NOW = timedelta(seconds=-60)  # older than a minute from now: whoever was seen is silent


class Wakes:
    def __init__(self):
        self.count = 0

    def __call__(self):
        self.count += 1


@pytest.fixture
def wakes():
    return Wakes()


@pytest.fixture
def beats():
    return Wakes()


@pytest.fixture
def presence(world, wakes, beats):
    """Beats a hundred times a second."""
    return Presence(world.workers, WORKER, every_s=0.01, troubles=dict, wake=wakes, heard=beats)


def state(world):
    return world.workers.worker(WORKER.name).state


def after_two_beats(beats):
    seen = beats.count
    wait_for(lambda: beats.count >= seen + 2)


def test_a_worker_is_known_while_it_is_there_and_says_goodbye(world, presence):
    with presence:
        assert state(world) == "active"
        first = world.workers.worker(WORKER.name).seen_at
        wait_for(lambda: world.workers.worker(WORKER.name).seen_at > first)
    assert state(world) == "stopped"


def test_waiting_jobs_wake_it_without_any_hint(world, presence, wakes, beats):
    with presence:
        after_two_beats(beats)
        assert wakes.count == 0
        world.submit("succeed")
        wait_for(lambda: wakes.count)


def test_jobs_of_other_pools_do_not(world, presence, wakes, beats):
    with presence:
        world.submit("succeed", pool="other")
        after_two_beats(beats)
    assert wakes.count == 0


def test_a_draining_worker_is_not_woken_until_it_is_no_longer(world, presence, wakes, beats):
    with presence:
        world.workers.drain(WORKER.name)
        after_two_beats(beats)
        before = wakes.count
        world.submit("succeed")
        after_two_beats(beats)
        assert wakes.count == before == 0
        world.workers.undrain(WORKER.name)
        wait_for(lambda: wakes.count)


def test_its_troubles_are_told_and_it_is_woken_all_the_same(world, wakes, beats):
    """Some of its devices may be usable: the claim decides."""
    troubles = {0: "only 5 bytes are free"}
    presence = Presence(
        world.workers, WORKER, every_s=0.01, troubles=lambda: troubles, wake=wakes, heard=beats
    )
    world.submit("succeed")
    with presence:
        wait_for(lambda: world.workers.worker(WORKER.name).trouble == "only 5 bytes are free")
        wait_for(lambda: wakes.count)


def test_a_worker_that_was_thought_lost_is_active_again(world, presence, beats):
    with presence:
        after_two_beats(beats)
        world.workers.mark_lost(NOW)
        wait_for(lambda: state(world) == "active")


def test_a_worker_that_was_forgotten_announces_itself_anew(world, presence, beats):
    with presence:
        after_two_beats(beats)
        with writing(world.engine) as session:
            session.execute(delete(WorkerRow))
        wait_for(lambda: [worker.name for worker in world.workers.workers()] == [WORKER.name])


class Unreachable(Exception):
    pass


class FlakyWorkers:
    """A store that cannot be reached for some heartbeats, nor for the goodbye if it says so."""

    def __init__(self, workers, failures, goodbye=True):
        self._workers, self._failures, self._goodbye = workers, failures, goodbye

    def __getattr__(self, name):
        return getattr(self._workers, name)

    def beat(self, *arguments):
        self._failures -= 1
        if self._failures >= 0:
            raise Unreachable("the database is down")
        return self._workers.beat(*arguments)

    def stopped(self, name):
        if not self._goodbye:
            raise Unreachable("the database is down")
        self._workers.stopped(name)


def test_a_database_that_is_away_for_a_while_ends_nothing(world, wakes, beats):
    flaky = FlakyWorkers(world.workers, failures=5)
    with Presence(flaky, WORKER, every_s=0.01, troubles=dict, wake=wakes, heard=beats):
        wait_for(lambda: beats.count)
    assert state(world) == "stopped"


def test_a_goodbye_that_cannot_be_said_does_not_keep_it_from_ending(world, wakes, beats):
    flaky = FlakyWorkers(world.workers, failures=0, goodbye=False)
    with Presence(flaky, WORKER, every_s=0.01, troubles=dict, wake=wakes, heard=beats):
        wait_for(lambda: beats.count)
    assert state(world) == "active"  # it will be shown as lost


def test_without_redis_a_job_starts_by_the_heartbeat_alone(world, beats):
    runner = world.runner()
    job = world.submit("succeed")
    presence = Presence(
        world.workers, WORKER, every_s=0.05, troubles=dict, wake=runner.wake, heard=beats
    )
    with presence:
        wait_for(lambda: world.jobs.get(job.id).state == "succeeded")
        runner.shut_down()
        runner.join()
