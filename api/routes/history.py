"""What a job leaves while it runs: metrics, events, the trainer's log."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

from fastapi import APIRouter, Query
from fastapi.responses import PlainTextResponse

from api.caller import Viewer
from api.openapi import problems
from api.requests import IdInUrl, LogsQuery, MetricsQuery, SeriesQuery
from api.schemas import EventView, MetricLine, Series
from api.services import Services, ServicesDep
from api.visible import visible_job
from pgd_core.errors import NotFound
from pgd_core.jobs.job import Job
from pgd_core.jobs.run import LOG_FILE

router = APIRouter(prefix="/v1/jobs/{job_id}", tags=["jobs"])


@router.get("/metrics", responses=problems(404))
def get_job_metrics(
    job_id: IdInUrl,
    query: Annotated[MetricsQuery, Query()],
    services: ServicesDep,
    caller: Viewer,
) -> Series[MetricLine]:
    """Lines of progress of every attempt: losses, learning rate, validation metrics."""
    job = visible_job(services, caller, job_id)
    lines = services.jobs.progress_lines(
        job.id, type=query.type, after=query.after, limit=query.limit + 1
    )
    items = [MetricLine(sequence=n, **line.model_dump()) for n, line in lines[: query.limit]]
    next_after = items[-1].sequence if items else query.after
    return Series(items=items, has_more=len(lines) > query.limit, next_after=next_after)


@router.get("/events", responses=problems(404))
def get_job_events(
    job_id: IdInUrl,
    query: Annotated[SeriesQuery, Query()],
    services: ServicesDep,
    caller: Viewer,
) -> Series[EventView]:
    """The job's history: submitted, claimed, started, requeued, ended."""
    job = visible_job(services, caller, job_id)
    events = services.jobs.events(job.id, after=query.after, limit=query.limit + 1)
    items = [EventView.of(event) for event in events[: query.limit]]
    next_after = items[-1].sequence if items else query.after
    return Series(items=items, has_more=len(events) > query.limit, next_after=next_after)


@router.get(
    "/logs",
    response_class=PlainTextResponse,
    responses={200: {"content": {"text/plain": {}}}, **problems(404)},
)
def get_job_logs(
    job_id: IdInUrl,
    query: Annotated[LogsQuery, Query()],
    services: ServicesDep,
    caller: Viewer,
) -> PlainTextResponse:
    """The end of a trainer's log, as text."""
    job = visible_job(services, caller, job_id)
    with log_of(job, query.attempt, services) as log:
        text = _tail(log, query.tail_bytes)
    return PlainTextResponse(text, headers={"X-Content-Type-Options": "nosniff"})


@contextlib.contextmanager
def log_of(job: Job, attempt: int | None, services: Services) -> Iterator[Path]:
    """Where the log of an attempt lies, by default of the newest; NotFound where there is none."""
    number = attempt or job.attempt
    if number == 0:
        raise NotFound(f"job {job.id} has not started: it has no log yet")
    try:
        yield services.attempt_folder(job.id, number) / LOG_FILE
    except FileNotFoundError as error:
        raise NotFound(f"job {job.id} has no log of attempt {number} on this server") from error


def _tail(path: Path, size: int) -> str:
    """The last `size` bytes, from the start of a line."""
    with path.open("rb") as file:
        end = file.seek(0, os.SEEK_END)
        start = file.seek(max(end - size, 0))
        content = file.read(size)
    if start > 0:
        content = content.partition(b"\n")[2] or content
    return content.decode("utf-8", "replace")
