"""A job's curves, thin enough to draw; and its trainer's whole log."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query
from fastapi.responses import Response
from pydantic import BaseModel, Field

from api.caller import Viewer
from api.downloads import LogResponse
from api.openapi import Responses, problems
from api.requests import NO_CONTROL, IdInUrl, QueryModel
from api.routes.history import log_of
from api.services import ServicesDep
from api.visible import visible_job
from pgd_core.jobs.curves import Curve, Curves, thinned

router = APIRouter(prefix="/v1/jobs/{job_id}", tags=["jobs"])
_LOG_ANSWERS: Responses = {
    200: {"content": {"text/plain": {}}},
    206: {"description": "A part, as Range asks.", "content": {"text/plain": {}}},
}


class CurvesQuery(QueryModel):
    """Which curves, and how fine."""

    keys: str = Field(
        "loss,lr",
        max_length=500,
        pattern=NO_CONTROL,
        description="Names of losses and metrics, lr, grad_norm, memory_mb, images_per_s; loss is "
        "the sum of all. Separated by commas; of each variant.",
        examples=["loss,lr,AP"],
    )
    points: int = Field(500, ge=4, le=5000, description="At most, of each curve.")


class CurveView(BaseModel):
    """One key of one variant: three lists of the same length."""

    key: str
    variant: str
    iterations: list[int]
    epochs: list[float]
    values: list[float]

    @classmethod
    def of(cls, curve: Curve, most: int) -> CurveView:
        points = thinned(curve.points, most)
        return cls(
            key=curve.key,
            variant=curve.variant,
            iterations=[point.iteration for point in points],
            epochs=[point.epoch for point in points],
            values=[point.value for point in points],
        )


class CurvesView(BaseModel):
    """Curves, the attempts of each joined into one."""

    curves: list[CurveView]
    keys: list[str] = Field(description="All that the job has.")


class LogQuery(QueryModel):
    """Which log."""

    attempt: int | None = Field(None, ge=1, le=10_000, description="Default: the newest.")


@router.get("/metrics/series", responses=problems(404))
def get_job_curves(
    job_id: IdInUrl,
    query: Annotated[CurvesQuery, Query()],
    services: ServicesDep,
    caller: Viewer,
) -> CurvesView:
    """Losses, learning rate and metrics over the iterations, thinned out: the extremes stay."""
    job = visible_job(services, caller, job_id)
    wanted = list(dict.fromkeys(key.strip() for key in query.keys.split(",") if key.strip()))
    curves = Curves(wanted)
    for attempt, line in services.curves.lines(job.id):
        curves.take(attempt, line)
    found = sorted(curves.found.values(), key=lambda curve: wanted.index(curve.key))
    views = [CurveView.of(curve, query.points) for curve in found if curve.points]
    return CurvesView(curves=views, keys=sorted(curves.known))


@router.get(
    "/logs/download",
    response_class=Response,
    responses={**_LOG_ANSWERS, **problems(400, 404, 416)},
)
def download_job_log(
    job_id: IdInUrl,
    query: Annotated[LogQuery, Query()],
    services: ServicesDep,
    caller: Viewer,
) -> Response:
    """A trainer's whole log as a file, or the part that Range asks for."""
    job = visible_job(services, caller, job_id)
    with log_of(job, query.attempt, services) as log:
        return LogResponse(log, f"{job.id}-attempt-{log.parent.name}.log")
