"""Jobs: submit, look, cancel."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import structlog
from fastapi import APIRouter, BackgroundTasks, Body, Header, Query, Response
from fastapi.responses import JSONResponse

from api.compatibility import check_job
from api.errors import KeyReused
from api.examples import JOB_EXAMPLES
from api.openapi import problems
from api.requests import IdInUrl, JobsQuery, SubmitQuery
from api.schemas import CheckedSpec, JobView, Page
from api.services import Services, ServicesDep
from pgd_core.errors import Conflict, QuotaExceeded
from pgd_core.jobs.forecast import Place
from pgd_core.jobs.job import Job, JobState
from pgd_core.jobs.spec import JobSpec

router = APIRouter(prefix="/v1/jobs", tags=["jobs"])
IdempotencyKey = Annotated[
    str | None,
    Header(
        pattern=r"^[\x21-\x7e]{1,200}$",
        description="The same key and body give the first job again; another body is refused.",
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
    response: Response,
    after_answer: BackgroundTasks,
    idempotency_key: IdempotencyKey = None,
) -> JobView | JSONResponse:
    """Queue a job; with `validate_only` check it and queue nothing."""
    check_job(spec, services.library, services.settings.weights_folder)
    if query.validate_only:
        return JSONResponse(CheckedSpec(spec=spec.model_dump(mode="json")).model_dump())
    job = _submit(spec, query, services, idempotency_key)
    response.headers["Location"] = f"/v1/jobs/{job.id}"
    after_answer.add_task(_hint, services, job.pool)
    return _view(services, job)


@router.get("", responses=problems())
def list_jobs(query: Annotated[JobsQuery, Query()], services: ServicesDep) -> Page[JobView]:
    """Jobs, newest first."""
    found = services.jobs.list(
        after=query.after, limit=query.limit + 1, state=query.state, kind=query.kind
    )
    items = _views(services, found[: query.limit])
    has_more = len(found) > query.limit
    return Page(items=items, has_more=has_more, next_after=items[-1].id if has_more else None)


@router.get("/{job_id}", responses=problems(404))
def get_job(job_id: IdInUrl, services: ServicesDep) -> JobView:
    """A job: state, reason, progress, time left, place in the queue, result."""
    return _view(services, services.jobs.get(job_id))


@router.post("/{job_id}:cancel", status_code=202, responses=problems(403, 404, 409))
def cancel_job(job_id: IdInUrl, services: ServicesDep) -> JobView:
    """Cancel: a queued job at once, a running one as soon as its worker has stopped it."""
    return _view(services, services.jobs.cancel(job_id))


def _view(services: Services, job: Job) -> JobView:
    return _views(services, [job])[0]


def _views(services: Services, jobs: Sequence[Job]) -> list[JobView]:
    return [JobView.of(job, _place(services, job)) for job in jobs]


def _place(services: Services, job: Job) -> Place | None:
    """A study waits in no queue: its jobs do."""
    if job.state is not JobState.QUEUED or job.kind == "study":
        return None
    return services.places.of_job(job.id, job.pool)


def _submit(spec: JobSpec, query: SubmitQuery, services: Services, key: str | None) -> Job:
    settings = services.settings
    try:
        return services.jobs.submit(
            spec,
            query.placement(settings.pool),
            max_attempts=settings.max_attempts,
            idempotency_key=key,
        )
    except QuotaExceeded:
        raise
    except Conflict as error:
        raise KeyReused(error.message) from error


def _hint(services: Services, pool: str) -> None:
    """Wake a worker. It may fail: the job is stored, and the reconciler hints again."""
    try:
        services.hints.send(pool)
        services.jobs.hinted(pool)
    except Exception as error:  # whatever the broker's client raises
        structlog.get_logger().warning("hint_not_sent", pool=pool, error=str(error))
