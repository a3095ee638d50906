"""Models: the detectors that jobs made; what they are called, noted and exported."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Body, Query
from fastapi.responses import JSONResponse

from api.caller import Submitter, Viewer
from api.checked import SubmittedJob
from api.model_examples import EXPORT_EXAMPLES, MODEL_CHANGE_EXAMPLES
from api.model_views import ExportOptions, ModelChange, ModelsQuery, ModelView
from api.openapi import problems
from api.repeatable import Repeatable
from api.requests import IdInUrl
from api.schemas import Page, page_of
from api.services import ServicesDep
from api.submitting import CHECKED, SubmissionDep
from api.visible import visible_model
from pgd_core.jobs.models import Model
from pgd_core.jobs.spec import ExportJob

router = APIRouter(prefix="/v1/models", tags=["models"], route_class=Repeatable)


@router.get("", responses=problems(403))
def list_models(
    query: Annotated[ModelsQuery, Query()], services: ServicesDep, caller: Viewer
) -> Page[ModelView]:
    """Models, newest first: what every succeeded train or distill job made."""
    which = query.finding(caller.lists_of(query.team))
    found = services.models.models(which, after=query.after, limit=query.limit + 1)
    items = [ModelView.of(model) for model in found[: query.limit]]
    return page_of(items, has_more=len(found) > query.limit)


@router.get("/{model_id}", responses=problems(404))
def get_model(model_id: IdInUrl, services: ServicesDep, caller: Viewer) -> ModelView:
    """A model: what it reaches, what it costs, what it was made from."""
    return ModelView.of(visible_model(services, caller, model_id))


@router.patch("/{model_id}", responses=problems(400, 403, 404, 413))
def change_model(
    model_id: IdInUrl,
    change: Annotated[ModelChange, Body(openapi_examples=MODEL_CHANGE_EXAMPLES)],
    services: ServicesDep,
    caller: Submitter,
) -> ModelView:
    """Give it tags, take them away, note something about it."""
    model = visible_model(services, caller, model_id)
    caller.trail.details |= change.model_dump(mode="json", exclude_unset=True, exclude={"notes"})
    changed = services.models.change(
        model.id,
        add_tags=change.add_tags,
        remove_tags=change.remove_tags,
        notes=change.notes,
    )
    return ModelView.of(changed)


@router.delete("/{model_id}", status_code=204, responses=problems(403, 404))
def unregister_model(model_id: IdInUrl, services: ServicesDep, caller: Submitter) -> None:
    """Take it off the list for good: its job keeps its files, its version is not given again."""
    model = visible_model(services, caller, model_id)
    caller.trail.details |= {"name": model.name, "version": model.version}
    services.models.unregister(model.id)


@router.post(
    "/{model_id}:export",
    status_code=202,
    response_model=SubmittedJob,
    responses={**CHECKED, **problems(400, 403, 404, 409, 413)},
)
def export_model(
    model_id: IdInUrl,
    services: ServicesDep,
    caller: Submitter,
    submission: SubmissionDep,
    options: Annotated[ExportOptions | None, Body(openapi_examples=EXPORT_EXAMPLES)] = None,
) -> SubmittedJob | JSONResponse:
    """Queue the job that writes it as ONNX and compares that with torch; predictions need one."""
    model = visible_model(services, caller, model_id)
    spec = _export_of(model, options or ExportOptions())
    return submission.queue(spec, caller, submission.query.team or model.team)


def _export_of(model: Model, options: ExportOptions) -> ExportJob:
    given = options.model_dump(exclude_none=True) | {
        "name": options.name or f"export of {model.title}"[:200],
        "dataset": options.dataset or model.dataset_id,
    }
    return ExportJob(kind="export", job=model.job_id, **given)
