"""Celery, as this project uses it: a way to wake workers. All of Celery's settings are here."""

from __future__ import annotations

from celery import Celery

from worker.queue import broker_options, queue_name


def worker_app(redis_url: str, pool: str, slots: int = 1) -> Celery:
    """The Celery application of one worker, with a thread for each of its slots."""
    app = Celery("pgd-worker", broker=redis_url, set_as_current=False)
    app.conf.update(
        task_default_queue=queue_name(pool),
        # A hint is acknowledged as it arrives: with late acknowledgement Redis would deliver it
        # again while a long job runs. A hint that is lost so is given again by the reconciler.
        task_acks_late=False,
        task_ignore_result=True,
        task_serializer="json",
        accept_content=["json"],
        # A job in a thread. The task only supervises: it waits for the trainer's process, so the
        # interpreter lock does not matter. Measured on Celery 5.7: `solo` answers no ping while its
        # task runs; `prefork` puts a forked, daemonic process in between, which takes signals and
        # dies on its own; threads answer pings, and SIGTERM reaches the main thread at once while
        # the tasks end by themselves.
        worker_pool="threads",
        worker_concurrency=slots,
        # Else a hint waits behind a busy worker while another is free.
        worker_disable_prefetch=True,
        worker_prefetch_multiplier=1,
        # Redis going away is no reason to kill a training that needs no Redis.
        worker_cancel_long_running_tasks_on_connection_loss=False,
        worker_hijack_root_logger=False,
        worker_redirect_stdouts=False,
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,  # for ever
        broker_transport_options=broker_options(connect_s=5, answer_s=10)
        | {"interval_start": 0.5, "interval_step": 1, "interval_max": 10},
    )
    return app
