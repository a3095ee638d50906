"""What a resumable upload may be refused with, beside what every request may; for `api.errors`."""

from __future__ import annotations

from http import HTTPStatus

from pgd_core.errors import BadRequest, Conflict, NotFound, PgdError

TUS_VERSION = "1.0.0"


class OffsetConflict(Conflict):
    """The bytes do not go where the upload ends; the header Upload-Offset says where that is."""

    code = "wrong_offset"

    def __init__(self, upload_id: str, asked: int, offset: int) -> None:
        super().__init__(f"upload {upload_id} goes on at byte {offset}, not at {asked}")
        self.headers = {"Upload-Offset": str(offset), "Cache-Control": "no-store"}


class UploadBusy(Conflict):
    """Another request is writing to the upload; ask for its offset again in a moment."""

    code = "upload_busy"
    headers = {"Retry-After": "1"}  # noqa: RUF012  read only


class UploadGone(NotFound):
    """The upload expired unfinished, or its bytes are lost; begin it anew."""

    code = "upload_gone"


class WrongVersion(BadRequest):
    """Tus-Resumable names no version of the protocol that the service speaks."""

    code = "wrong_tus_version"
    headers = {"Tus-Version": TUS_VERSION}  # noqa: RUF012  read only


class WrongMediaType(BadRequest):
    """The Content-Type is not the one that is taken here."""

    code = "wrong_media_type"


UPLOAD_STATUS: dict[type[PgdError], HTTPStatus] = {
    UploadBusy: HTTPStatus.LOCKED,
    UploadGone: HTTPStatus.GONE,
    WrongVersion: HTTPStatus.PRECONDITION_FAILED,
    WrongMediaType: HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
}
