"""What can be asked of a job after it was submitted."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, BackgroundTasks, Body

from api.caller import Caller
from api.examples import CHANGE_EXAMPLES
from api.job_views import view_of
from api.openapi import problems
from api.requests import IdInUrl, JobChange
from api.schemas import JobView
from api.services import Services, ServicesDep
from api.teams import check_team
from pgd_core.jobs.job import Job

router = APIRouter(prefix="/v1/jobs", tags=["jobs"])
_ERRORS = problems(403, 404, 409)


@router.post("/{job_id}:cancel", status_code=202, responses=_ERRORS)
def cancel_job(job_id: IdInUrl, services: ServicesDep, caller: Caller) -> JobView:
    """Cancel: a waiting job at once, a running one as soon as its worker has stopped it."""
    return _answer(services, services.jobs.cancel(job_id, by=caller))


@router.post("/{job_id}:pause", status_code=202, responses=_ERRORS)
def pause_job(job_id: IdInUrl, services: ServicesDep, caller: Caller) -> JobView:
    """Pause: a queued job at once, a running one as soon as it has written a checkpoint."""
    return _answer(services, services.jobs.pause(job_id, by=caller))


@router.post("/{job_id}:resume", status_code=202, responses=_ERRORS)
def resume_job(
    job_id: IdInUrl, services: ServicesDep, caller: Caller, after_answer: BackgroundTasks
) -> JobView:
    """Queue a paused job again, in its old place; it goes on from its checkpoint."""
    job = services.jobs.resume(job_id, by=caller)
    after_answer.add_task(services.wake, job.pool)
    return _answer(services, job)


@router.post("/{job_id}:retry", status_code=202, responses=_ERRORS)
def retry_job(
    job_id: IdInUrl, services: ServicesDep, caller: Caller, after_answer: BackgroundTasks
) -> JobView:
    """Queue a failed or cancelled job again, with all its attempts.

    It goes on from its newest checkpoint, if that was kept; a study asks for what failed anew.
    """
    job = services.jobs.retry(job_id, by=caller)
    after_answer.add_task(services.wake, job.pool)
    return _answer(services, job)


@router.patch("/{job_id}", responses=problems(400, 403, 404, 409, 413))
def change_job(
    job_id: IdInUrl,
    change: Annotated[JobChange, Body(openapi_examples=CHANGE_EXAMPLES)],
    services: ServicesDep,
    caller: Caller,
    after_answer: BackgroundTasks,
) -> JobView:
    """Move a waiting job to another place, or change the class of a running one."""
    if change.team is not None:
        check_team(services.teams, change.team, "body")
    before = services.jobs.get(job_id)
    job = services.jobs.change(job_id, change.placement_change(), by=caller)
    services.places.forget(before.pool)
    after_answer.add_task(services.wake, job.pool)
    return _answer(services, job)


def _answer(services: Services, job: Job) -> JobView:
    """The job with its new place: what was known of its pool is no longer true."""
    services.places.forget(job.pool)
    return view_of(services, job)
