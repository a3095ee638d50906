from __future__ import annotations

import socket
import subprocess
import sys
import time

import pytest
from redis import Redis

from tests.servers import start_redis
from worker.queue import MOST_HINTS, HintNotSent, HintSender, queue_name

LONGER_THAN_A_CALLER_SHOULD_WAIT_S = 2


def hints(server, pool):
    with Redis(unix_socket_path=str(server.socket)) as client:
        return client.llen(queue_name(pool))


def assert_fails_soon(sender):
    start = time.monotonic()
    with pytest.raises(HintNotSent, match="'default'"):
        sender.send("default")
    assert time.monotonic() - start < LONGER_THAN_A_CALLER_SHOULD_WAIT_S


def test_a_hint_lies_in_the_queue_of_its_pool(redis):
    sender = HintSender(redis.url)
    sender.send("gpu")
    sender.send("gpu")
    sender.close()

    assert (hints(redis, "gpu"), hints(redis, "default")) == (2, 0)


def test_hints_that_nobody_takes_are_never_many(redis):
    sender = HintSender(redis.url)
    for _ in range(MOST_HINTS + 5):
        sender.send("no workers")
    sender.send("another")

    assert (hints(redis, "no workers"), hints(redis, "another")) == (MOST_HINTS, 1)

    with Redis(unix_socket_path=str(redis.socket)) as client:  # as a worker takes one
        client.brpop(queue_name("no workers"))
    sender.send("no workers")
    sender.close()
    assert hints(redis, "no workers") == MOST_HINTS


def test_a_redis_that_is_down_costs_little_and_says_so(tmp_path):
    sender = HintSender(f"redis+socket://{tmp_path / 'none.sock'}")
    assert_fails_soon(sender)
    sender.close()


def test_a_redis_that_does_not_answer_costs_little_and_says_so():
    with socket.create_server(("127.0.0.1", 0)) as silent:
        sender = HintSender(f"redis://127.0.0.1:{silent.getsockname()[1]}/0")
        assert_fails_soon(sender)
        sender.close()


def test_a_sender_finds_a_redis_that_came_back(redis):
    sender = HintSender(redis.url)
    sender.send("default")
    redis.stop()
    assert_fails_soon(sender)

    again = start_redis(redis.socket)
    sender.send("default")
    assert hints(again, "default") == 1
    sender.close()
    again.stop()


def test_importing_the_queue_loads_neither_torch_nor_the_worker():
    code = (
        "import sys, worker.queue; "
        "print([m for m in ('torch', 'mmdet', 'worker.app', 'worker.runner', 'sqlalchemy') "
        "if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
