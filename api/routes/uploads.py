"""Uploads: a file's bytes as the request's body, streamed to disk."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Header, Query, Request, Response

from api.openapi import Responses, problems
from api.receiving import receive_upload
from api.requests import NO_CONTROL, IdInUrl, UploadQuery
from api.schemas import UploadView
from api.services import ServicesDep

router = APIRouter(prefix="/v1/uploads", tags=["uploads"])
_ERRORS: Responses = problems(400, 403, 413, 503, 507)
_BODY = {
    "requestBody": {
        "required": True,
        "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
    }
}


@router.post("", status_code=201, responses=_ERRORS, openapi_extra=_BODY)
async def add_upload(
    request: Request,
    query: Annotated[UploadQuery, Query()],
    services: ServicesDep,
    response: Response,
    x_filename: Annotated[str, Header(max_length=200, pattern=NO_CONTROL)] = "",
    repr_digest: Annotated[
        str | None, Header(description="`sha-256=:BASE64:` of the body (RFC 9530); checked.")
    ] = None,
) -> UploadView:
    """Send a file as the raw body; its digest is checked where one is announced."""
    upload = await receive_upload(
        request.stream(),
        services,
        filename=query.filename or x_filename,
        announced_size=request.headers.get("content-length"),
        expected=(query.sha256, repr_digest),
    )
    response.headers["Location"] = f"/v1/uploads/{upload.id}"
    return UploadView.of(upload)


@router.get("/{upload_id}", responses=problems(404))
def get_upload(upload_id: IdInUrl, services: ServicesDep) -> UploadView:
    """What arrived."""
    return UploadView.of(services.library.upload(upload_id))
