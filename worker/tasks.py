"""The one Celery task: a hint arrived, so see what there is to do."""

from __future__ import annotations

from celery import Celery

from worker.queue import TASK_NAME
from worker.runner import Runner


def register_tasks(app: Celery, runner: Runner) -> None:
    """Have hints answered by `runner`."""

    @app.task(name=TASK_NAME)  # type: ignore[untyped-decorator]  # Celery has no types
    def work() -> None:
        runner.work()
