"""What a job leaves while it runs, live: Server-Sent Events that lose nothing between two visits.

Each message holds one line as JSON, and its number as `id`; the header Last-Event-ID, or `after`,
says where to go on. A comment every 15 s keeps the connection open. `event: end` comes when the job
has ended and all was sent; a stream that ends without it was cut, and shall be asked for again.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header, Query
from fastapi.responses import StreamingResponse

from api.caller import Viewer
from api.live import Listener
from api.openapi import problems
from api.requests import IdInUrl
from api.services import ServicesDep
from api.visible import visible_job
from pgd_core.jobs.live import SeriesName

router = APIRouter(prefix="/v1/jobs/{job_id}", tags=["jobs"])

_MOST = 2**53
After = Annotated[int, Query(ge=0, le=_MOST, description="The number of the last line known.")]
LastEventId = Annotated[
    int | None, Header(ge=0, le=_MOST, description="The same; goes before `after`.")
]
_EXAMPLE = (
    'data: {"sequence": 3, "kind": "started", …}\nid: 3\n\n'
    'event: end\ndata: {"state": "succeeded"}\n\n'
)
_MEDIA_TYPE = "text/event-stream"
_MESSAGE = {  # OpenAPI 3.2's word for what each message of a stream is
    "type": "object",
    "properties": {name: {"type": "string"} for name in ("data", "event", "id")},
}
_STREAM: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "Lines as they come.",
        "content": {_MEDIA_TYPE: {"itemSchema": _MESSAGE, "example": _EXAMPLE}},
    }
}


def _listener_of(series: SeriesName) -> Callable[..., Listener]:
    """What finds the job and takes a place among the listeners, before the answer begins."""

    def find(
        job_id: IdInUrl,
        services: ServicesDep,
        caller: Viewer,
        after: After = 0,
        last_event_id: LastEventId = None,
    ) -> Listener:
        job = visible_job(services, caller, job_id)
        number = after if last_event_id is None else last_event_id
        return services.live.listener(caller, job.id, series, number)

    return find


def _streamed(listener: Listener) -> StreamingResponse:
    """What proxies neither keep nor hold up."""
    headers = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
    return StreamingResponse(listener.stream(), headers=headers, media_type=_MEDIA_TYPE)


@router.get(
    "/events/stream",
    response_class=StreamingResponse,
    responses=_STREAM | problems(404, 503),
)
async def stream_job_events(
    listener: Annotated[Listener, Depends(_listener_of("events"))],
) -> StreamingResponse:
    """The job's history as it happens, as Server-Sent Events; each as in `GET …/events`."""
    return _streamed(listener)


@router.get(
    "/metrics/stream",
    response_class=StreamingResponse,
    responses=_STREAM | problems(404, 503),
)
async def stream_job_metrics(
    listener: Annotated[Listener, Depends(_listener_of("metrics"))],
) -> StreamingResponse:
    """Lines of progress as they come, as Server-Sent Events; each as in `GET …/metrics`."""
    return _streamed(listener)
