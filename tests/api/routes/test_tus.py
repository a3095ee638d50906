"""Resumable uploads: the protocol, kept to the letter, and what breaks off."""

from __future__ import annotations

import base64
import hashlib

import pytest
from sqlalchemy import update

from pgd_core.store.engine import writing
from pgd_core.store.times import database_now
from pgd_core.store.upload_tables import UnfinishedUploadRow
from tests.api.answers import problem_of

CONTENT = bytes(range(256)) * 40
SHA256 = hashlib.sha256(CONTENT).hexdigest()
TUS = {"Tus-Resumable": "1.0.0"}


def b64(text: str | bytes) -> str:
    return base64.b64encode(text.encode() if isinstance(text, str) else text).decode()


def begun(http, length=len(CONTENT), metadata="", **query):
    """The address of a new upload."""
    headers = TUS | {"Upload-Length": str(length)}
    if metadata:
        headers["Upload-Metadata"] = metadata
    answer = http.post("/v1/uploads/tus", headers=headers, params=query)
    assert answer.status_code == 201, answer.text
    return answer.headers["location"]


def piece(http, url, offset, content, **headers):
    """The answer to a PATCH."""
    usual = {"Upload-Offset": str(offset), "Content-Type": "application/offset+octet-stream"}
    return http.patch(url, content=content, headers=TUS | usual | headers)


def offset_of(http, url):
    answer = http.head(url, headers=TUS)
    assert answer.status_code == 200, answer.headers
    assert answer.headers["cache-control"] == "no-store"
    return int(answer.headers["upload-offset"])


def files_on_the_way(world):
    return sorted(path.name for path in (world.settings.data_folder / "unfinished").glob("*"))


def expire(world, url):
    row = update(UnfinishedUploadRow).where(UnfinishedUploadRow.id == url.rpartition("/")[2])
    with writing(world.services.unfinished._engine) as session:
        session.execute(row.values(expires_at=database_now()))


def test_a_file_that_came_in_pieces_is_an_upload_like_any_other(world):
    url = begun(world.http, metadata=f"filename {b64('big é.pth')},sha256 {b64(SHA256)}")

    assert offset_of(world.http, url) == 0
    first = piece(world.http, url, 0, CONTENT[:1000])
    assert (first.status_code, first.headers["upload-offset"]) == (204, "1000")
    assert first.headers["upload-expires"].endswith("GMT")
    assert offset_of(world.http, url) == 1000
    last = piece(world.http, url, 1000, CONTENT[1000:])

    assert (last.status_code, last.headers["upload-offset"]) == (204, str(len(CONTENT)))
    upload = world.http.get(last.headers["content-location"]).json()
    assert (upload["filename"], upload["size"], upload["sha256"]) == (
        "big é.pth",
        len(CONTENT),
        SHA256,
    )
    assert url.endswith(upload["id"])
    key = world.services.library.upload(upload["id"]).key
    assert world.services.files.path(key).read_bytes() == CONTENT
    assert files_on_the_way(world) == []
    assert offset_of(world.http, url) == len(CONTENT)
