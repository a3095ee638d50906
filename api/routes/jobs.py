"""Jobs: submit and look; `api.routes.job_actions` changes them."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Body, Query
from fastapi.responses import JSONResponse

from api.caller import Submitter, Viewer
from api.checked import SubmittedJob
from api.examples import JOB_EXAMPLES
from api.job_views import view_of, views_of
from api.openapi import problems
from api.repeatable import PARAMETER
from api.requests import IdInUrl, JobsQuery
from api.schemas import JobView, Page, page_of
from api.services import ServicesDep
from api.submitting import CHECKED, SubmissionDep
from api.visible import visible_job
from pgd_core.jobs.spec import JobSpec

router = APIRouter(prefix="/v1/jobs", tags=["jobs"])


@router.post(
    "",
    status_code=202,
    response_model=SubmittedJob,
    responses={**CHECKED, **problems(400, 403, 409, 413)},
    openapi_extra={"parameters": [PARAMETER]},
)
def submit_job(
    spec: Annotated[JobSpec, Body(openapi_examples=JOB_EXAMPLES)],
    submission: SubmissionDep,
    caller: Submitter,
) -> SubmittedJob | JSONResponse:
    """Queue a job; with `validate_only` check it and queue nothing.

    The check says what the job will take and when it would end. Both answers have `warnings`.

    409 `quota_exceeded` when its team has as many jobs waiting as it may, or may never run so many
    GPUs. A job that no worker is large enough for is taken, and waits as `too_large`.
    """
    return submission.queue(spec, caller, submission.query.team)


@router.get("", responses=problems(403))
def list_jobs(
    query: Annotated[JobsQuery, Query()], services: ServicesDep, caller: Viewer
) -> Page[JobView]:
    """Jobs, newest first."""
    found = services.jobs.list(
        after=query.after,
        limit=query.limit + 1,
        state=query.state,
        kind=query.kind,
        team=caller.lists_of(query.team),
        pool=query.pool,
    )
    items = views_of(services, found[: query.limit])
    return page_of(items, has_more=len(found) > query.limit)


@router.get("/{job_id}", responses=problems(404))
def get_job(job_id: IdInUrl, services: ServicesDep, caller: Viewer) -> JobView:
    """A job: state, reason, progress, time left, place in the queue, result."""
    return view_of(services, visible_job(services, caller, job_id))
