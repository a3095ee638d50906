"""Jobs: submit and look; `api.routes.job_actions` changes them."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, BackgroundTasks, Body, Header, Query, Response
from fastapi.responses import JSONResponse

from api.caller import Caller, Submitter, Viewer
from api.checked import CheckedSpec, SubmittedJob
from api.checking import checked, warnings_of
from api.compatibility import check_job
from api.errors import KeyReused
from api.examples import JOB_EXAMPLES
from api.job_views import view_of, views_of
from api.openapi import problems
from api.requests import IdInUrl, JobsQuery, SubmitQuery
from api.schemas import JobView, Page
from api.services import Services, ServicesDep
from api.teams import check_team
from api.visible import visible_job
from pgd_core.errors import Conflict, QuotaExceeded
from pgd_core.jobs.job import Job
from pgd_core.jobs.machine import Placement
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
    response_model=SubmittedJob,
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
) -> SubmittedJob | JSONResponse:
    """Queue a job; with `validate_only` check it and queue nothing.

    The check says what the job will take and when it would end. Both answers have `warnings`.

    409 `quota_exceeded` when its team has as many jobs waiting as it may, or may never run so many
    GPUs. A job that no worker is large enough for is taken, and waits as `too_large`.
    """
    team = caller.team_of(query.team)
    check_team(services.teams, team, "query")
    placement = query.placement(team, services.settings.pool)
    check_job(spec, services.jobs, services.library, services.settings.weights_folder, placement)
    if query.validate_only:
        return JSONResponse(checked(services, spec, placement).model_dump(mode="json"))
    warnings = warnings_of(services, spec, placement)
    job = _submit(spec, placement, services, idempotency_key, caller)
    caller.trail.details |= {"kind": job.kind, "name": job.name}
    response.headers["Location"] = f"/v1/jobs/{job.id}"
    after_answer.add_task(services.wake, job.pool)
    return SubmittedJob.model_validate(view_of(services, job).model_dump() | {"warnings": warnings})


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


def _submit(
    spec: JobSpec, placement: Placement, services: Services, key: str | None, caller: Caller
) -> Job:
    try:
        return services.jobs.submit(
            spec,
            placement,
            max_attempts=services.settings.max_attempts,
            idempotency_key=key,
            caller=caller.key.id,
            by=caller.name,
        )
    except QuotaExceeded:
        raise
    except Conflict as error:
        raise KeyReused(error.message) from error
