"""What can be asked of a job after it was submitted."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, BackgroundTasks, Body

from api.caller import Caller, Submitter
from api.examples import CHANGE_EXAMPLES
from api.job_views import view_of
from api.openapi import problems
from api.repeatable import Repeatable
from api.requests import IdInUrl, JobChange
from api.schemas import JobView
from api.services import Services, ServicesDep
from api.teams import check_team
from api.visible import visible_job
from pgd_core.errors import Forbidden
from pgd_core.jobs.job import Job

router = APIRouter(prefix="/v1/jobs", tags=["jobs"], route_class=Repeatable)
_ERRORS = problems(403, 404, 409)


@router.post("/{job_id}:cancel", status_code=202, responses=_ERRORS)
def cancel_job(job_id: IdInUrl, services: ServicesDep, caller: Submitter) -> JobView:
    """Cancel: a waiting job at once, a running one as soon as its worker has stopped it."""
    job = visible_job(services, caller, job_id)
    return _answer(services, services.jobs.cancel(job.id, by=caller.name))


@router.post("/{job_id}:pause", status_code=202, responses=_ERRORS)
def pause_job(job_id: IdInUrl, services: ServicesDep, caller: Submitter) -> JobView:
    """Pause: a queued job at once, a running one as soon as it has written a checkpoint."""
    job = visible_job(services, caller, job_id)
    return _answer(services, services.jobs.pause(job.id, by=caller.name))


@router.post("/{job_id}:resume", status_code=202, responses=_ERRORS)
def resume_job(
    job_id: IdInUrl, services: ServicesDep, caller: Submitter, after_answer: BackgroundTasks
) -> JobView:
    """Queue a paused job again, in its old place; it goes on from its checkpoint."""
    before = visible_job(services, caller, job_id)
    job = services.jobs.resume(before.id, by=caller.name)
    after_answer.add_task(services.wake, job.pool)
    return _answer(services, job)


@router.post("/{job_id}:retry", status_code=202, responses=_ERRORS)
def retry_job(
    job_id: IdInUrl, services: ServicesDep, caller: Submitter, after_answer: BackgroundTasks
) -> JobView:
    """Queue a failed or cancelled job again, with all its attempts.

    One that failed goes on from its newest checkpoint, if that was kept; one that was cancelled
    begins anew, as its checkpoints are deleted; a study asks for what failed anew. 409 too once its
    data set or a teacher that it names was deleted.
    """
    before = visible_job(services, caller, job_id)
    job = services.jobs.retry(before.id, by=caller.name)
    after_answer.add_task(services.wake, job.pool)
    return _answer(services, job)


@router.patch("/{job_id}", responses=problems(400, 403, 404, 409, 413))
def change_job(
    job_id: IdInUrl,
    change: Annotated[JobChange, Body(openapi_examples=CHANGE_EXAMPLES)],
    services: ServicesDep,
    caller: Submitter,
    after_answer: BackgroundTasks,
) -> JobView:
    """Move a waiting job to another place, or change the class of a running one."""
    before = visible_job(services, caller, job_id)
    if change.team is not None and change.team != before.team:
        _check_handing_over(change.team, services, caller)
    caller.trail.details |= change.model_dump(exclude_unset=True)
    job = services.jobs.change(before.id, change.placement_change(), by=caller.name)
    services.places.forget(before.pool)
    after_answer.add_task(services.wake, job.pool)
    return _answer(services, job)


def _check_handing_over(team: str, services: Services, caller: Caller) -> None:
    """With the job its results become the other team's: only an operator gives them away."""
    if not caller.key.operator:
        raise Forbidden("only an operator hands a job over to another team")
    check_team(services.teams, team, "body")


def _answer(services: Services, job: Job) -> JobView:
    """The job with its new place: what was known of its pool is no longer true."""
    services.places.forget(job.pool)
    return view_of(services, job)
