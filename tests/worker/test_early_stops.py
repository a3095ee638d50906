"""Requests to stop that come before the trainer is there, or that no file can tell it."""

from __future__ import annotations

import pytest

from tests.worker.conftest import wait_for


class WhilePreparing:
    """A library at which something happens before it answers."""

    def __init__(self, library, happens):
        self._library, self._happens = library, happens

    def __getattr__(self, name):
        return getattr(self._library, name)

    def dataset(self, dataset_id):
        self._happens()
        return self._library.dataset(dataset_id)


class Listening:
    """A store that counts the heartbeats in which a request was told."""

    def __init__(self, jobs):
        self._jobs, self.told = jobs, 0

    def __getattr__(self, name):
        return getattr(self._jobs, name)

    def heartbeat(self, *arguments):
        orders = self._jobs.heartbeat(*arguments)
        self.told += orders.stop is not None
        return orders


def assert_never_started(world, job, state, reason):
    ended = world.jobs.get(job.id)
    assert (ended.state, ended.reason, ended.failures) == (state, reason, 0)
    assert "before its trainer was started" in ended.message
    assert "started" not in [event.kind for event in world.jobs.events(job.id)]
    assert not (world.attempts / job.id / "1" / "trainer.log").exists()


@pytest.mark.parametrize(
    ("ask", "state", "reason"),
    [("cancel", "cancelled", "cancelled_by_user"), ("pause", "paused", "paused_by_user")],
)
def test_a_request_that_is_heard_while_preparing_starts_no_trainer(world, ask, state, reason):
    job = world.submit("gentle")
    world.jobs = Listening(world.jobs)

    def asked():
        getattr(world.jobs, ask)(job.id)
        wait_for(lambda: world.jobs.told >= 2)  # the first of them has reached the lease

    world.library = WhilePreparing(world.library, asked)
    world.runner().work()

    assert_never_started(world, job, state, reason)


def test_a_shutdown_while_preparing_starts_no_trainer(world):
    job = world.submit("gentle")
    world.library = WhilePreparing(world.library, lambda: runner.shut_down())
    runner = world.runner()
    runner.work()

    assert_never_started(world, job, "queued", "stopped")


def test_a_trainer_that_cannot_be_left_a_file_is_stopped_by_its_signal(world):
    job = world.submit("gentle_by_signal")
    thread = world.start(world.runner())
    world.wait_until_training(job)
    (world.attempts / job.id / "1" / "stop").symlink_to(world.folder / "none" / "there")
    world.jobs.pause(job.id)
    thread.join()

    paused = world.jobs.get(job.id)
    assert (paused.state, paused.reason) == ("paused", "paused_by_user")
    assert paused.message.startswith("paused on request; none of its")
