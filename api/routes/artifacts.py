"""What a job published: list and download."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Request
from fastapi import Path as UrlPart
from fastapi.responses import FileResponse, Response

from api.caller import Viewer
from api.downloads import content_of, not_modified
from api.openapi import problems
from api.requests import NO_CONTROL, IdInUrl
from api.schemas import ArtifactView, Page
from api.services import ServicesDep
from api.visible import visible_job

router = APIRouter(prefix="/v1/jobs/{job_id}/artifacts", tags=["artifacts"])
NameInUrl = Annotated[str, UrlPart(max_length=200, pattern=NO_CONTROL)]
_BINARY = {"schema": {"type": "string", "format": "binary"}}


@router.get("", responses=problems(404))
def list_artifacts(job_id: IdInUrl, services: ServicesDep, caller: Viewer) -> Page[ArtifactView]:
    """Every file that the job published, with its sha256."""
    job = visible_job(services, caller, job_id)
    items = [ArtifactView.of(artifact) for artifact in services.jobs.artifacts(job.id)]
    return Page(items=items, has_more=False)


@router.head("/{name}", include_in_schema=False)
@router.get(
    "/{name}",
    response_class=FileResponse,
    responses={
        200: {"content": {"application/octet-stream": _BINARY}},
        206: {"description": "The range asked for."},
        304: {"description": "The caller has it already."},
        307: {"description": "A link to the storage that holds the file, valid for ten minutes."},
        **problems(400, 404, 416, 503),
    },
)
def download_artifact(
    job_id: IdInUrl, name: NameInUrl, request: Request, services: ServicesDep, caller: Viewer
) -> Response:
    """One file; its ETag is its sha256, and ranges of it may be asked for."""
    job = visible_job(services, caller, job_id)
    artifact = services.jobs.artifact(job.id, name)
    if (answer := not_modified(artifact, request)) is not None:
        return answer
    return content_of(artifact, request, services.files)
