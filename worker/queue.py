"""The worker's public door: hints that there may be work. The database holds the work itself.

A hint carries nothing but the pool, in the queue's name; it may be lost, repeated or late. A
pool never has many: where its workers are busy, or none is, nobody takes them.
"""

from __future__ import annotations

from typing import Any

from celery import Celery
from kombu.exceptions import OperationalError
from redis.exceptions import RedisError

from pgd_core.errors import PgdError

TASK_NAME = "pgd.work"
# Whoever becomes free takes one of those that lie there, and then works until nothing is left.
MOST_HINTS = 64


class HintNotSent(PgdError):
    """Redis cannot be reached; the reconciler hints again, so the job only starts later."""

    code = "hint_not_sent"


def queue_name(pool: str) -> str:
    """The Celery queue of a pool's hints."""
    return f"pgd.{pool}"


class HintSender:
    """Sends hints; safe to share between threads.

    Each step of a send has its own short timeout and none is tried again, so that a request that
    submits a job never waits long for a Redis that is down (without these: 19 s).
    """

    def __init__(self, redis_url: str) -> None:
        self._celery = Celery("pgd-hints", broker=redis_url, set_as_current=False)
        self._celery.conf.update(
            task_ignore_result=True,
            broker_transport_options=broker_options(connect_s=0.5, answer_s=0.5)
            | {"max_retries": 0},
            broker_connection_timeout=0.5,
        )

    def send(self, pool: str) -> None:
        """Wake a worker of the pool, unless enough hints wait for one as it is; HintNotSent when
        Redis cannot be reached."""
        queue = queue_name(pool)
        try:
            with self._celery.producer_or_acquire() as producer:
                # The key of a queue is its name. When many send at once there are a few more.
                if producer.channel.client.llen(queue) < MOST_HINTS:
                    self._celery.send_task(TASK_NAME, queue=queue, retry=False, producer=producer)
        except (OperationalError, RedisError, OSError) as error:
            raise HintNotSent(f"no hint for pool {pool!r}: {error}") from error

    def close(self) -> None:
        """Give the connections back."""
        self._celery.close()


def broker_options(*, connect_s: float, answer_s: float) -> dict[str, Any]:
    """kombu's Redis options that a dead or silent server cannot hold up."""
    return {
        "socket_connect_timeout": connect_s,
        "socket_timeout": answer_s,
        "socket_keepalive": True,
        "retry_on_timeout": False,
        "health_check_interval": 30,
    }
