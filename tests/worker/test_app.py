"""What a worker takes from Redis."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest
from kombu import Connection, Exchange, Queue
from kombu.exceptions import ContentDisallowed

from tests.servers import redis_server
from worker.app import worker_app
from worker.queue import queue_name


class Touch:
    """A pickle of it makes a file where it is read."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def test_a_pickle_that_somebody_puts_into_redis_is_not_read(tmp_path):
    trace = tmp_path / "trace"
    pickle.loads(pickle.dumps(Touch(trace)))
    assert trace.exists()  # so it would have told
    trace.unlink()
    seen = []
    with redis_server() as redis:
        app = worker_app(redis.url, "default")
        name = queue_name("default")
        queue = Queue(name, Exchange(name), name)
        with Connection(redis.url) as connection:
            connection.Producer().publish(
                pickle.dumps(Touch(trace)),
                declare=[queue],
                exchange=queue.exchange,
                routing_key=name,
                content_type="application/x-python-serialize",
                content_encoding="binary",
            )
        with app.connection_for_read() as connection:
            consumer = app.amqp.TaskConsumer(connection, on_message=seen.append)
            with consumer:
                connection.drain_events(timeout=10)
        app.close()

    (message,) = seen
    with pytest.raises(ContentDisallowed):
        message.decode()
    assert not trace.exists()
