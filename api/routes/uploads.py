"""Uploads: a file's bytes as the request's body, streamed to disk."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Header, Query, Request, Response
from fastapi import Path as UrlPart
from fastapi.concurrency import run_in_threadpool

from api.caller import Submitter, Viewer
from api.openapi import Responses, problems
from api.receiving import receive_upload
from api.requests import NO_CONTROL, IdInUrl, TeamQuery, UploadQuery
from api.schemas import UploadView
from api.services import ServicesDep
from api.teams import check_team
from api.visible import visible_upload

router = APIRouter(prefix="/v1/uploads", tags=["uploads"])
_ERRORS: Responses = problems(400, 403, 413, 503, 507)
_BODY = {
    "requestBody": {
        "required": True,
        "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
    }
}
Digest = Annotated[
    str | None, Header(description="`sha-256=:BASE64:` of the body (RFC 9530); checked.")
]
FilenameInUrl = Annotated[
    str, UrlPart(max_length=200, pattern=NO_CONTROL, description="A label only.")
]


@router.post("", status_code=201, responses=_ERRORS, openapi_extra=_BODY)
async def add_upload(
    request: Request,
    query: Annotated[UploadQuery, Query()],
    services: ServicesDep,
    caller: Submitter,
    response: Response,
    x_filename: Annotated[str, Header(max_length=200, pattern=NO_CONTROL)] = "",
    repr_digest: Digest = None,
) -> UploadView:
    """Send a file as the raw body; its digest is checked where one is announced."""
    team = caller.team_of(query.team)
    await run_in_threadpool(check_team, services.teams, team, "query")
    upload = await receive_upload(
        request.stream(),
        services,
        team=team,
        filename=query.filename or x_filename,
        announced_size=request.headers.get("content-length"),
        expected=(query.sha256, repr_digest),
    )
    response.headers["Location"] = f"/v1/uploads/{upload.id}"
    return UploadView.of(upload)


@router.put(
    "/files/{filename}",
    status_code=201,
    responses={**_ERRORS, **problems(404)},
    openapi_extra=_BODY,
)
async def put_upload(
    filename: FilenameInUrl,
    request: Request,
    query: Annotated[TeamQuery, Query()],
    services: ServicesDep,
    caller: Submitter,
    response: Response,
    repr_digest: Digest = None,
) -> UploadView:
    """Send a file as the raw body, named by the address: `curl -T FILE URL/v1/uploads/files/`."""
    asked = UploadQuery(filename=filename, team=query.team)
    return await add_upload(request, asked, services, caller, response, repr_digest=repr_digest)


@router.get("/{upload_id}", responses=problems(404))
def get_upload(upload_id: IdInUrl, services: ServicesDep, caller: Viewer) -> UploadView:
    """What arrived."""
    return UploadView.of(visible_upload(services, caller, upload_id))
