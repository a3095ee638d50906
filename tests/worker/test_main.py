"""The worker's own process, with a real Redis server."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from celery import Celery

from pgd_core.files.shares import DataFolder
from pgd_core.jobs.machine import ONE_CPU_SLOT
from pgd_core.settings import Settings
from tests.servers import start_redis
from tests.worker.conftest import FAKE_TRAINER, wait_for
from worker.main import troubles
from worker.processes import members
from worker.queue import HintSender

# The real main, but for the trainer's command.
MAIN = f"""
import sys, worker.main as main
settings = main.begin()
with main.open_stores(settings) as stores:
    sys.exit(main.run(settings, stores, {FAKE_TRAINER!r}))
"""


def test_a_data_folder_that_cannot_be_looked_at_is_a_trouble_in_words(tmp_path):
    folder = tmp_path / ("x" * 300)  # no file system has such a name
    settings = Settings(data_folder=folder, min_free_bytes=1)

    told = troubles(settings, DataFolder(folder, str), (ONE_CPU_SLOT,))

    assert list(told) == [ONE_CPU_SLOT.slot]
    assert "cannot be used: " in told[ONE_CPU_SLOT.slot]


class WorkerProcess:
    def __init__(self, world, redis, number):
        self.log = world.folder / f"worker-{number}.log"
        settings = {
            "PGD_DATA_FOLDER": str(world.folder),
            "PGD_REDIS_URL": redis.url,
            "PGD_HEARTBEAT_S": "0.1",
            "PGD_STOP_GRACE_S": "10",
        }
        with self.log.open("ab") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-W", "error::ResourceWarning", "-c", MAIN],
                env=os.environ | settings,
                stdout=output,
                stderr=output,
                cwd="/",
            )

    def stop(self, number=signal.SIGTERM):
        self.process.send_signal(number)
        return self.process.wait(20)

    def said(self, text):
        return text in self.log.read_text()


@pytest.fixture
def start(world, redis):
    started = []

    def start():
        started.append(WorkerProcess(world, redis, len(started)))
        return started[-1]

    yield start
    for worker in started:
        worker.process.kill()
        worker.process.wait()


def ended(world, job):
    return world.jobs.get(job.id).finished_at is not None


def test_a_job_that_waited_since_before_redis_was_emptied_is_found_at_boot(world, start):
    job = world.submit("succeed")
    worker = start()

    wait_for(lambda: ended(world, job))
    assert world.jobs.get(job.id).state == "succeeded"
    assert worker.stop() == 0
    assert '"event": "finished"' in worker.log.read_text()
    assert f'"job": "{job.id}"' in worker.log.read_text()


def test_a_busy_worker_answers_pings_and_a_hint_wakes_it_when_it_is_free(world, redis, start):
    worker = start()
    wait_for(lambda: worker.said("ready"))
    long = world.submit("gentle")
    hints = HintSender(redis.url)
    hints.send("default")
    world.wait_until_training(long)

    app = Celery(broker=redis.url, set_as_current=False)
    [answer] = wait_for(lambda: app.control.ping(timeout=1))
    assert list(answer.values()) == [{"ok": "pong"}]
    app.close()

    short = world.submit("succeed")
    hints.send("default")
    world.jobs.cancel(long.id)
    wait_for(lambda: ended(world, short))
    hints.close()


def test_sigterm_has_the_trainer_write_a_checkpoint_and_requeues_its_job(world, start):
    job = world.submit("gentle_once")
    worker = start()
    world.wait_until_training(job)

    assert worker.stop() == 0
    waiting = world.jobs.get(job.id)
    assert (waiting.state, waiting.reason, waiting.failures) == ("queued", "stopped", 0)

    start()
    wait_for(lambda: ended(world, job))
    assert world.jobs.get(job.id).attempt == 2


def test_a_killed_worker_s_trainer_is_swept_when_a_worker_starts(world, start):
    job = world.submit("stubborn")
    worker = start()
    world.wait_until_training(job)
    wait_for(lambda: len(members(f"{job.id}/1")) == 3)
    worker.stop(signal.SIGKILL)
    assert len(members(f"{job.id}/1")) == 3  # that is how it is, and why there is a sweep

    next_worker = start()
    wait_for(lambda: next_worker.said("ready"))
    assert members(f"{job.id}/1") == []
    assert next_worker.said("orphans_ended")


def test_training_goes_on_while_redis_is_away_and_hints_arrive_when_it_is_back(world, redis, start):
    job = world.submit("gentle")
    worker = start()
    world.wait_until_training(job)
    redis.stop()
    wait_for(lambda: worker.said("onnection"))
    assert world.jobs.get(job.id).state == "running"
    assert len(members(f"{job.id}/1")) == 1

    again = start_redis(Path(redis.socket))
    try:
        world.jobs.cancel(job.id)
        wait_for(lambda: ended(world, job))
        hints = HintSender(again.url)
        after = world.submit("succeed")
        hints.send("default")
        wait_for(lambda: ended(world, after))
        hints.close()
        assert worker.stop() == 0
    finally:
        again.stop()


def test_sigterm_ends_a_worker_that_has_no_redis(world, redis, start):
    job = world.submit("gentle")
    worker = start()
    world.wait_until_training(job)
    redis.stop()
    wait_for(lambda: worker.said("onnection"))

    worker.stop()
    assert world.jobs.get(job.id).reason == "stopped"
    assert members(f"{job.id}/1") == []
