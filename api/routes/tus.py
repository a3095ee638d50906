"""Resumable uploads, as tus 1.0 has them: a file in pieces that may break off anywhere."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Header, Query, Request, Response
from fastapi.concurrency import run_in_threadpool

from api.caller import Caller, Submitter, Viewer
from api.errors import TooLarge
from api.openapi import Responses, problems
from api.requests import IdInUrl, TeamQuery
from api.resuming import append, check_alive, check_room, create_file, delete, valid_for
from api.services import Services, ServicesDep
from api.teams import check_team
from api.tus_protocol import (
    EXTENSIONS,
    NUMBER,
    PIECE,
    PIECE_TYPE,
    TUS_PATH,
    VERSION,
    metadata_of,
    state_headers,
)
from api.upload_errors import TUS_VERSION
from api.visible import visible_unfinished
from pgd_core.errors import BadRequest
from pgd_core.jobs.unfinished import UnfinishedUpload, UploadQuota

router = APIRouter(prefix=TUS_PATH, tags=["uploads"])
_PIECE = {
    "requestBody": {
        "required": True,
        "content": {PIECE_TYPE: {"schema": {"type": "string", "format": "binary"}}},
    }
}
_GONE_ON: Responses = {204: {"description": "Upload-Offset says where it goes on."}}
Length = Annotated[
    str, Header(pattern=NUMBER, examples=["1000"], description="Bytes of the whole file.")
]
Offset = Annotated[
    str, Header(pattern=NUMBER, examples=["0"], description="Where the piece belongs.")
]


@router.options("", status_code=204, responses=problems())
def describe_tus(services: ServicesDep, caller: Viewer) -> Response:  # noqa: ARG001
    """What of the protocol is spoken here."""
    headers = {
        "Tus-Version": TUS_VERSION,
        "Tus-Extension": EXTENSIONS,
        "Tus-Max-Size": str(services.settings.max_upload_bytes),
    }
    return Response(status_code=204, headers=headers)


@router.post(
    "",
    status_code=201,
    response_class=Response,
    responses={
        201: {"description": "Location says where the pieces go."},
        **problems(400, 403, 409, 412, 413, 507),
    },
)
def begin_upload(
    services: ServicesDep,
    caller: Submitter,
    upload_length: Length,
    query: Annotated[TeamQuery, Query()],
    _: None = VERSION,
    upload_metadata: Annotated[
        str,
        Header(max_length=4096, description="`filename BASE64,sha256 BASE64`; sha256 is checked."),
    ] = "",
) -> Response:
    """Begin an upload in pieces; its sha256, where it is told, is checked at the end."""
    team = caller.team_of(query.team)
    check_team(services.teams, team, "query")
    caller.trail.is_quiet = True
    said, settings, length = metadata_of(upload_metadata), services.settings, int(upload_length)
    _check_length(length, settings.max_upload_bytes)
    check_room(services, services.unfinished_file("any").parent, length)
    upload = services.unfinished.begin(
        team=team,
        filename=said.filename,
        length=length,
        sha256=said.sha256,
        metadata=upload_metadata,
        valid_for=valid_for(services),
        quota=UploadQuota(settings.max_unfinished_bytes),
    )
    create_file(services, upload)  # after the row: without one, nobody would clear it away
    headers = state_headers(upload) | {"Location": f"{TUS_PATH}/{upload.id}"}
    return Response(status_code=201, headers=headers)


@router.head(
    "/{unfinished_id}",
    response_class=Response,
    responses={
        200: {"description": "Upload-Offset of Upload-Length bytes have arrived."},
        **problems(404, 410, 412),
    },
)
def get_upload_offset(
    unfinished_id: IdInUrl, services: ServicesDep, caller: Viewer, _: None = VERSION
) -> Response:
    """How far an upload is; once it is whole, Content-Location leads to it."""
    upload = visible_unfinished(services, caller, unfinished_id)
    check_alive(services, upload)
    headers = state_headers(upload) | {
        "Upload-Length": str(upload.length),
        "Cache-Control": "no-store",
    }
    if upload.metadata:
        headers["Upload-Metadata"] = upload.metadata
    return Response(headers=headers)


@router.patch(
    "/{unfinished_id}",
    status_code=204,
    responses={**_GONE_ON, **problems(400, 403, 404, 409, 410, 412, 413, 415, 423, 503, 507)},
    openapi_extra=_PIECE,
)
async def append_to_upload(
    unfinished_id: IdInUrl,
    request: Request,
    services: ServicesDep,
    caller: Submitter,
    upload_offset: Offset,
    _: None = VERSION,
    __: None = PIECE,
) -> Response:
    """Send the next piece, of any size. What arrives is kept even where it breaks off."""
    upload = await run_in_threadpool(_alive, services, caller, unfinished_id)
    announced = request.headers.get("content-length", "")
    appended = await append(
        request.stream(),
        services,
        upload,
        offset=int(upload_offset),
        announced=int(announced) if announced.isdecimal() else None,
    )
    _note(caller, upload, appended)
    headers = state_headers(appended)
    return Response(status_code=204, headers=headers)


@router.delete("/{unfinished_id}", status_code=204, responses=problems(403, 404, 409, 412, 423))
def drop_upload(
    unfinished_id: IdInUrl, services: ServicesDep, caller: Submitter, _: None = VERSION
) -> Response:
    """Give up an upload that is not finished, and free its bytes."""
    upload = visible_unfinished(services, caller, unfinished_id)
    delete(services, upload)
    return Response(status_code=204)


def _alive(services: Services, caller: Caller, upload_id: str) -> UnfinishedUpload:
    upload = visible_unfinished(services, caller, upload_id)
    check_alive(services, upload)
    return upload


def _check_length(length: int, max_bytes: int) -> None:
    if length == 0:
        raise BadRequest("Upload-Length is 0; an empty file is of no use here")
    if length > max_bytes:
        raise TooLarge(
            f"{length} bytes are over {max_bytes}, this server's limit (PGD_MAX_UPLOAD_BYTES)"
        )


def _note(caller: Caller, before: UnfinishedUpload, after: UnfinishedUpload) -> None:
    """One audit event for the whole file, the one that a file sent at once leaves."""
    if after.finished_at is None or before.finished_at is not None:
        caller.trail.is_quiet = True
        return
    caller.trail.event = ("add_upload", f"uploads/{after.id}")
    caller.trail.details |= {"filename": after.filename, "size": after.length}
