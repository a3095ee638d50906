from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from datetime import timedelta

from redis import Redis
from structlog.testing import capture_logs

from pgd_core.datasets.layout import CocoSplit
from pgd_core.jobs.machine import Offer
from pgd_core.store import SqlJobStore
from tests.worker.conftest import RUN_OUT, wait_for
from worker.queue import HintNotSent, HintSender, queue_name
from worker.reconciler import in_turn, reconcile, repeat

MINUTE = timedelta(minutes=1)


class Hints:
    def __init__(self, down=False):
        self.sent, self.down = [], down

    def send(self, pool):
        if self.down:
            raise HintNotSent("Redis is down")
        self.sent.append(pool)


def test_each_waiting_job_is_hinted_once_so_that_each_may_wake_a_worker(world):
    world.submit("succeed", pool="a")
    world.submit("succeed", pool="b")
    world.submit("succeed", pool="b")
    hints = Hints()

    reconcile(world.jobs, hints, MINUTE)
    reconcile(world.jobs, hints, MINUTE)

    assert hints.sent == ["a", "b", "b"]


def test_a_hint_that_could_not_be_sent_is_sent_when_redis_is_back(world):
    world.submit("succeed")
    hints = Hints(down=True)
    reconcile(world.jobs, hints, MINUTE)

    hints.down = False
    reconcile(world.jobs, hints, MINUTE)
    assert hints.sent == ["default"]


def test_a_hint_that_was_lost_is_given_again(world):
    world.submit("succeed")
    hints = Hints()
    reconcile(world.jobs, hints, MINUTE)
    reconcile(world.jobs, hints, -MINUTE)

    assert hints.sent == ["default", "default"]


def test_a_silent_worker_s_job_is_requeued_and_hinted_in_one_round(world):
    job = world.submit("succeed")
    world.jobs.claim(Offer("dead", "default"), RUN_OUT)
    hints = Hints()

    reconcile(world.jobs, hints, MINUTE)

    assert (world.jobs.get(job.id).state, hints.sent) == ("queued", ["default"])


def test_a_step_that_fails_is_done_again():
    stop, count = threading.Event(), []

    def step():
        count.append(1)
        if len(count) == 3:
            stop.set()
        raise OSError("the database is down")

    repeat(step, 0.001, stop)
    assert len(count) == 3


def test_the_process_hints_checks_and_ends_when_asked(world, redis, tmp_path):
    job = world.submit("succeed")
    empty = tmp_path / "empty"
    for split in ("train", "val"):
        (empty / split).mkdir(parents=True)
        CocoSplit(("0",)).write(empty / f"{split}.json")
    parts = [str(empty / name) for name in ("train.json", "train", "val.json", "val")]
    dataset = world.library.add_dataset("no pictures", *parts)
    settings = {"PGD_DATA_FOLDER": str(world.folder), "PGD_REDIS_URL": redis.url}
    process = subprocess.Popen(
        [sys.executable, "-m", "worker.reconciler"], env=os.environ | settings, cwd="/"
    )
    try:
        with Redis(unix_socket_path=str(redis.socket)) as client:
            wait_for(lambda: client.llen(queue_name("default")))
        wait_for(lambda: world.library.dataset(dataset.id).state == "rejected")
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
    codes = [error["code"] for error in world.library.dataset(dataset.id).report["errors"]]
    assert "no_images" in codes
    assert world.jobs.get(job.id).state == "queued"


def test_with_another_data_folder_than_the_workers_the_process_ends(world, redis, tmp_path):
    world.workers.shared_folder("the workers'")
    settings = {
        "PGD_DATA_FOLDER": str(tmp_path / "mine"),
        "PGD_DATABASE_URL": world.engine.url.render_as_string(hide_password=False),
        "PGD_REDIS_URL": redis.url,
    }
    ended = subprocess.run(
        [sys.executable, "-m", "worker.reconciler"],
        env=os.environ | settings,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )

    assert ended.returncode == 1
    assert "wrong_data_folder" in ended.stdout + ended.stderr


def test_a_sender_serves_the_reconciler(redis, world):
    world.submit("succeed")
    sender = HintSender(redis.url)
    reconcile(world.jobs, sender, MINUTE)
    sender.close()

    with Redis(unix_socket_path=str(redis.socket)) as client:
        assert client.llen(queue_name("default")) == 1


def test_a_step_that_fails_holds_up_none_of_the_others():
    done = []

    def fails():
        raise OSError("a row that nobody understands")

    with capture_logs() as logged:
        assert not in_turn(first=fails, second=lambda: done.append(2))

    assert done == [2]
    assert [(line["event"], line["step"]) for line in logged] == [("step_failed", "first")]
    assert in_turn(second=lambda: done.append(3))


def test_jobs_are_hinted_though_no_lease_can_be_ended(world):
    class Broken(SqlJobStore):
        def expire_leases(self):
            raise ValueError("a row that nobody understands")

    world.submit("succeed")
    hints = Hints()

    assert not reconcile(Broken(world.engine), hints, MINUTE)
    assert hints.sent == ["default"]
    assert reconcile(world.jobs, hints, MINUTE)
