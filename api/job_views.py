"""Jobs as the API shows them, with their places in the queue."""

from __future__ import annotations

from collections.abc import Sequence

from api.schemas import JobView
from api.services import Services
from pgd_core.jobs.forecast import Place
from pgd_core.jobs.job import Job, JobState


def view_of(services: Services, job: Job) -> JobView:
    """The job, with its place if it waits."""
    return views_of(services, [job])[0]


def views_of(services: Services, jobs: Sequence[Job]) -> list[JobView]:
    """The jobs, each with its place if it waits."""
    return [JobView.of(job, _place(services, job)) for job in jobs]


def _place(services: Services, job: Job) -> Place | None:
    """A study waits in no queue: its jobs do."""
    if job.state is not JobState.QUEUED or job.kind == "study":
        return None
    return services.places.of_job(job.id, job.pool)
