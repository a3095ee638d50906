"""Jobs: submit and look; `api.routes.job_actions` changes them."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, BackgroundTasks, Body, Header, Query, Response
from fastapi.responses import JSONResponse

from api.caller import Submitter, Viewer
from api.examples import JOB_EXAMPLES
from api.job_views import view_of, views_of
from api.openapi import problems
from api.requests import IdInUrl, JobsQuery, SubmitQuery
from api.schemas import CheckedSpec, JobView, Page
from api.services import ServicesDep
from api.submitting import check_submit, queue_job
from api.visible import visible_job
from pgd_core.jobs.spec import JobSpec

router = APIRouter(prefix="/v1/jobs", tags=["jobs"])
IdempotencyKey = Annotated[
    str | None,
    Header(
        pattern=r"^[\x21-\x7e]{1,200}$",
        description="For a day the same key and request give the first job again; another request "
        "with it is refused.",
    ),
]


@router.post(
    "",
    status_code=202,
    response_model=JobView,
    responses={
        200: {"model": CheckedSpec, "description": "validate_only"},
        **problems(400, 403, 409, 413),
    },
)
def submit_job(
    spec: Annotated[JobSpec, Body(openapi_examples=JOB_EXAMPLES)],
    query: Annotated[SubmitQuery, Query()],
    services: ServicesDep,
    caller: Submitter,
    response: Response,
    after_answer: BackgroundTasks,
    idempotency_key: IdempotencyKey = None,
) -> JobView | JSONResponse:
    """Queue a job; with `validate_only` check it and queue nothing.

    409 `quota_exceeded` when its team has as many jobs waiting as it may, or may never run so many
    GPUs. A job that no worker is large enough for is taken, and waits as `too_large`.
    """
    team = caller.team_of(query.team)
    check_submit(spec, team, services)
    if query.validate_only:
        return JSONResponse(CheckedSpec(spec=spec.model_dump(mode="json")).model_dump())
    placement = query.placement(team, services.settings.pool)
    job = queue_job(spec, placement, services, idempotency_key, caller)
    response.headers["Location"] = f"/v1/jobs/{job.id}"
    after_answer.add_task(services.wake, job.pool)
    return view_of(services, job)


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
    has_more = len(found) > query.limit
    return Page(items=items, has_more=has_more, next_after=items[-1].id if has_more else None)


@router.get("/{job_id}", responses=problems(404))
def get_job(job_id: IdInUrl, services: ServicesDep, caller: Viewer) -> JobView:
    """A job: state, reason, progress, time left, place in the queue, result."""
    return view_of(services, visible_job(services, caller, job_id))
