"""What a model finds in a picture: the newest export of its job is asked, without torch."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import Response

from api.accepting import accepts
from api.caller import Caller, Viewer
from api.errors import WrongMediaType
from api.model_views import FoundView, Prediction, PredictQuery
from api.openapi import problems
from api.predicting import MEDIA_TYPES
from api.requests import IdInUrl
from api.services import Services, ServicesDep
from api.visible import visible_model
from pgd_core.errors import NotReady
from pgd_core.jobs.job import FINAL_STATES, Artifact
from pgd_core.jobs.models import COMPLETE_ONNX, Model
from pgd_core.predict import draw, predict

router = APIRouter(prefix="/v1/models", tags=["models"])
_LOOKED_BACK = 50  # the team's newest exports
_BINARY = {"schema": {"type": "string", "format": "binary"}}
_BODY = {"requestBody": {"required": True, "content": dict.fromkeys(MEDIA_TYPES, _BINARY)}}


@router.post(
    "/{model_id}:predict",
    response_model=Prediction,
    responses={
        200: {"content": {"image/png": _BINARY}, "description": "Boxes, or the drawn picture."},
        **problems(400, 404, 408, 409, 413, 415, 503, 504),
    },
    openapi_extra=_BODY,
)
async def predict_picture(
    model_id: IdInUrl,
    query: Annotated[PredictQuery, Query()],
    request: Request,
    services: ServicesDep,
    caller: Viewer,
) -> Prediction | Response:
    """What the model finds in the picture that is the body, JPEG or PNG.

    409 where the model has no export yet; 503 with Retry-After while others' pictures are looked
    at; 504 when it takes too long. Nothing of the picture is kept.
    """
    graph = await run_in_threadpool(_graph, services, caller, model_id)
    _check_media_type(request)
    picture = await services.predictor.received(request.stream())
    drawn = query.draw or accepts(request, "image/png", rather_than="application/json")
    with services.predictor.looking():
        if drawn:
            png = await run_in_threadpool(_drawing, services, graph, picture, query)
            return Response(png, media_type="image/png", headers={"Cache-Control": "no-store"})
        found = await run_in_threadpool(_found, services, graph, picture, query)
    return Prediction(model=model_id, export_job=graph.job_id, found=found)


def _graph(services: Services, caller: Caller, model_id: str) -> Artifact:
    """The file that is asked."""
    model = visible_model(services, caller, model_id)
    if model.export_job is None:
        raise NotReady(_way_to_an_export(services, model))
    return services.jobs.artifact(model.export_job, COMPLETE_ONNX)


def _way_to_an_export(services: Services, model: Model) -> str:
    missing = f"model {model.title} has no export that could look at pictures"
    tries = services.jobs.list(kind="export", team=model.team, limit=_LOOKED_BACK)
    last = next((job for job in tries if job.spec.get("job") == model.job_id), None)
    if last is not None and last.state not in FINAL_STATES:
        return f"{missing} yet: job {last.id} is {last.state}; once it has succeeded this works"
    way = (
        f"POST /v1/models/{model.id}:export (pgd export {model.id}) queues one, and once that job "
        "has succeeded this works"
    )
    ended = "" if last is None else f"; the last try, job {last.id}, {last.state}"
    return f"{missing}{ended}; {way}"


def _check_media_type(request: Request) -> None:
    given = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if given not in MEDIA_TYPES:
        raise WrongMediaType(
            f"a picture is {' or '.join(MEDIA_TYPES)}, and not {given[:100] or 'of no type'!r}; "
            "say which in Content-Type"
        )


def _found(
    services: Services, graph: Artifact, picture: bytes, query: PredictQuery
) -> list[FoundView]:
    found = predict(
        services.files.path(graph.key),
        picture,
        score_threshold=query.score_threshold,
        limits=services.predictor.limits,
    )
    return [FoundView.of(each) for each in found]


def _drawing(services: Services, graph: Artifact, picture: bytes, query: PredictQuery) -> bytes:
    return draw(
        services.files.path(graph.key),
        picture,
        score_threshold=query.score_threshold,
        limits=services.predictor.limits,
    )
