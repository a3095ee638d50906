"""Resumable uploads: the protocol, kept to the letter, and what breaks off."""

from __future__ import annotations

import base64
import hashlib
import io
import socket
from dataclasses import replace
from urllib.parse import urlsplit

import pytest
from sqlalchemy import select, update
from tusclient.client import TusClient

from api import pieces, resuming
from api.upload_errors import OffsetConflict
from pgd_core.errors import StorageUnavailable
from pgd_core.store.engine import reading, writing
from pgd_core.store.times import database_now
from pgd_core.store.upload_tables import UnfinishedUploadRow
from tests.api.answers import problem_of
from tests.worker.conftest import wait_for

CONTENT = bytes(range(256)) * 40
SIZE = len(CONTENT)
SHA256 = hashlib.sha256(CONTENT).hexdigest()
TUS = {"Tus-Resumable": "1.0.0"}


def b64(text: str | bytes) -> str:
    return base64.b64encode(text.encode() if isinstance(text, str) else text).decode()


def begun(http, length=SIZE, metadata="", **query):
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


# The protocol


def test_the_service_tells_what_it_speaks(world):
    answer = world.http.options("/v1/uploads/tus")

    assert (answer.status_code, answer.content) == (204, b"")
    assert answer.headers["tus-resumable"] == answer.headers["tus-version"] == "1.0.0"
    assert answer.headers["tus-extension"] == "creation,expiration,termination"
    assert answer.headers["tus-max-size"] == "100000"


@pytest.mark.parametrize("version", [None, "0.2.2", "1.0.0,0.2.2", "", "2"])
def test_another_version_of_the_protocol_is_refused_with_the_right_one(world, version):
    url = begun(world.http)
    headers = {} if version is None else {"Tus-Resumable": version}
    usual = {"Upload-Offset": "0", "Content-Type": "application/offset+octet-stream"}
    answers = [
        world.http.post("/v1/uploads/tus", headers=headers | {"Upload-Length": "5"}),
        world.http.patch(url, content=b"x", headers=headers | usual),
        world.http.delete(url, headers=headers),
    ]

    for answer in [*answers, world.http.head(url, headers=headers)]:
        assert answer.status_code == 412
        assert answer.headers["tus-version"] == answer.headers["tus-resumable"] == "1.0.0"
    for answer in answers:
        problem_of(answer, 412, "wrong_tus_version")
    assert offset_of(world.http, url) == 0


def test_a_refusal_names_the_version_too(world):
    url = begun(world.http)

    answers = [
        world.http.head("/v1/uploads/tus/none", headers=TUS),
        world.caller(None).post("/v1/uploads/tus", headers=TUS),
        world.of("viewer").post("/v1/uploads/tus", headers=TUS | {"Upload-Length": "5"}),
        piece(world.http, url, 7, b"x"),
    ]

    assert [answer.status_code for answer in answers] == [404, 401, 403, 409]
    assert {answer.headers["tus-resumable"] for answer in answers} == {"1.0.0"}


@pytest.mark.parametrize("offset", [0, 999, 1001, SIZE, SIZE + 1, 10**18])
def test_a_piece_for_another_place_is_refused_with_the_true_one(world, offset):
    url = begun(world.http)
    piece(world.http, url, 0, CONTENT[:1000])

    answer = piece(world.http, url, offset, CONTENT[offset:])

    problem_of(answer, 409, "wrong_offset")
    assert answer.headers["upload-offset"] == "1000"
    assert offset_of(world.http, url) == 1000


@pytest.mark.parametrize("chunked", [False, True], ids=["announced", "chunked"])
def test_more_than_was_announced_is_refused_and_does_not_count(world, chunked):
    url = begun(world.http)
    piece(world.http, url, 0, CONTENT[:1000])
    rest = CONTENT[1000:] + b"x"

    answer = piece(world.http, url, 1000, iter([rest]) if chunked else rest)

    problem_of(answer, 413, "too_large")
    assert offset_of(world.http, url) == 1000
    assert piece(world.http, url, 1000, CONTENT[1000:]).status_code == 204


def test_a_piece_without_a_length_is_taken_as_it_comes(world):
    url = begun(world.http, metadata=f"sha256 {b64(SHA256)}")

    answer = piece(world.http, url, 0, (CONTENT[n : n + 999] for n in range(0, SIZE, 999)))

    assert answer.headers["upload-offset"] == str(SIZE)


def test_an_empty_piece_changes_nothing(world):
    url = begun(world.http)
    piece(world.http, url, 0, CONTENT[:10])

    assert piece(world.http, url, 10, b"").headers["upload-offset"] == "10"
    assert offset_of(world.http, url) == 10


@pytest.mark.parametrize("media_type", ["application/octet-stream", "text/plain", ""])
def test_a_piece_of_another_type_is_refused(world, media_type):
    url = begun(world.http)

    answer = piece(world.http, url, 0, b"x", **{"Content-Type": media_type})

    problem_of(answer, 415, "wrong_media_type")


def test_a_piece_that_says_no_place_is_refused(world):
    url = begun(world.http)
    headers = TUS | {"Content-Type": "application/offset+octet-stream"}

    problem_of(world.http.patch(url, content=b"x", headers=headers), 422, "invalid_request")


def test_an_upload_that_says_no_length_is_refused(world):
    problem_of(world.http.post("/v1/uploads/tus", headers=TUS), 422, "invalid_request")
    headers = TUS | {"Upload-Defer-Length": "1"}
    problem_of(world.http.post("/v1/uploads/tus", headers=headers), 422, "invalid_request")


def test_a_file_over_the_limit_is_refused_before_a_byte_of_it_is_sent(world):
    headers = TUS | {"Upload-Length": "100001"}
    problem_of(world.http.post("/v1/uploads/tus", headers=headers), 413, "too_large")

    assert files_on_the_way(world) == []


def test_a_finished_upload_takes_nothing_more(world):
    url = begun(world.http, 3)
    piece(world.http, url, 0, b"abc")

    assert piece(world.http, url, 3, b"").headers["upload-offset"] == "3"
    problem_of(piece(world.http, url, 3, b"d"), 413, "too_large")
    problem_of(piece(world.http, url, 0, b"abc"), 409, "wrong_offset")
    problem_of(world.http.delete(url, headers=TUS), 409, "conflict")
    assert world.http.get(f"/v1/uploads/{url.rpartition('/')[2]}").json()["size"] == 3


def test_an_upload_that_is_given_up_is_gone_with_its_bytes(world):
    url = begun(world.http)
    piece(world.http, url, 0, CONTENT[:1000])
    assert len(files_on_the_way(world)) == 1

    assert world.http.delete(url, headers=TUS).status_code == 204

    assert files_on_the_way(world) == []
    assert world.http.head(url, headers=TUS).status_code == 404
    problem_of(piece(world.http, url, 1000, b"x"), 404, "not_found")
    problem_of(world.http.delete(url, headers=TUS), 404, "not_found")


def test_an_upload_that_expired_is_gone(world):
    url = begun(world.http)
    piece(world.http, url, 0, CONTENT[:1000])
    expire(world, url)

    assert world.http.head(url, headers=TUS).status_code == 410
    problem = problem_of(piece(world.http, url, 1000, b"x"), 410, "upload_gone")
    assert "expired" in problem["detail"]
    assert world.http.delete(url, headers=TUS).status_code == 204


def test_another_teams_upload_does_not_exist(world):
    url = begun(world.of("submitter", "a"))
    others = world.of("admin", "b")

    assert others.head(url, headers=TUS).status_code == 404
    problem_of(piece(others, url, 0, b"x"), 404, "not_found")
    problem_of(others.delete(url, headers=TUS), 404, "not_found")
    problem_of(piece(others, "/v1/uploads/tus/none", 0, b"x"), 404, "not_found")
    assert offset_of(world.of("viewer", "a"), url) == 0


def test_an_operator_sends_for_any_team_and_nobody_else_does(world):
    world.team("vision")
    url = begun(world.http, 1, team="vision")
    piece(world.http, url, 0, b"x")

    upload = f"/v1/uploads/{url.rpartition('/')[2]}"
    assert world.of("viewer", "vision").get(upload).status_code == 200
    headers = TUS | {"Upload-Length": "1"}
    answer = world.of("admin", "other").post("/v1/uploads/tus?team=vision", headers=headers)
    problem_of(answer, 403, "forbidden")
    answer = world.http.post("/v1/uploads/tus?team=none", headers=headers)
    problem_of(answer, 422, "invalid_request")


def test_what_the_sender_said_is_told_back(world):
    metadata = f"filename {b64('a.pth')}, filetype {b64('x/y')},is_final"
    url = begun(world.http, metadata=metadata)

    assert world.http.head(url, headers=TUS).headers["upload-metadata"] == metadata
    assert world.http.head(url, headers=TUS).headers["upload-length"] == str(SIZE)


@pytest.mark.parametrize("meant", ["PATCH", "patch"])
def test_post_may_stand_for_another_method_where_a_proxy_knows_few(world, meant):
    url = begun(world.http)
    headers = {
        "X-HTTP-Method-Override": meant,
        "Upload-Offset": "0",
        "Content-Type": "application/offset+octet-stream",
    }

    answer = world.http.post(url, content=b"abc", headers=TUS | headers)

    assert (answer.status_code, answer.headers["upload-offset"]) == (204, "3")
    override = TUS | {"X-HTTP-Method-Override": "DELETE"}
    assert world.http.get(url, headers=override).status_code == 405
    assert world.of("viewer").post(url, headers=override).status_code == 403
    site = override | {"Sec-Fetch-Site": "cross-site"}
    assert world.http.post(url, headers=site).status_code == 403
    assert world.http.post(url, headers=override).status_code == 204
    assert world.http.post("/v1/jobs", headers=override).status_code == 422


# Caps, room and the digest


def test_a_team_has_no_more_on_its_way_than_it_may(world):
    settings = world.settings.model_copy(update={"max_unfinished_bytes": 15_000})
    world.app.state.services = replace(world.services, settings=settings)
    url = begun(world.http)
    headers = TUS | {"Upload-Length": str(SIZE)}

    refused = problem_of(world.http.post("/v1/uploads/tus", headers=headers), 409, "quota_exceeded")

    assert "PGD_MAX_UNFINISHED_BYTES" in refused["detail"]
    begun(world.of("submitter", "other"))
    world.http.delete(url, headers=TUS)
    begun(world.http)


def test_without_room_nothing_is_begun_and_what_arrived_is_kept(world):
    url = begun(world.http)
    piece(world.http, url, 0, CONTENT[:1000])
    settings = world.settings.model_copy(update={"min_free_bytes": 2**60})
    world.app.state.services = replace(world.services, settings=settings)
    headers = TUS | {"Upload-Length": "5"}

    problem_of(world.http.post("/v1/uploads/tus", headers=headers), 507, "storage_full")
    problem_of(piece(world.http, url, 1000, b"x"), 507, "storage_full")

    world.app.state.services = world.services
    assert offset_of(world.http, url) == 1000
    assert piece(world.http, url, 1000, CONTENT[1000:]).status_code == 204


def test_an_upload_whose_file_cannot_be_made_is_not_begun(world, monkeypatch):
    def full(_folder):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(resuming, "_sync", full)
    headers = TUS | {"Upload-Length": "5"}
    problem_of(world.http.post("/v1/uploads/tus", headers=headers), 507, "storage_full")

    with reading(world.services.unfinished._engine) as session:
        assert session.scalars(select(UnfinishedUploadRow.id)).all() == []


def test_a_disk_that_fills_up_keeps_what_arrived(world, monkeypatch):
    url = begun(world.http)
    write, left = resuming.os.write, [2]

    def fills(number, piece):
        left[0] -= 1
        if not left[0]:
            raise OSError(28, "No space left on device")
        return write(number, piece[:700])

    monkeypatch.setattr(resuming.os, "write", fills)
    problem_of(piece(world.http, url, 0, CONTENT), 507, "storage_full")
    monkeypatch.undo()

    assert offset_of(world.http, url) == 700
    assert piece(world.http, url, 700, CONTENT[700:]).status_code == 204
    assert stored(world, url) == CONTENT


def test_a_file_that_is_not_what_was_announced_is_deleted(world):
    url = begun(world.http, metadata=f"sha256 {b64(SHA256.upper())}")

    answer = piece(world.http, url, 0, CONTENT[:-1] + b"?")

    problem_of(answer, 400, "digest_mismatch")
    assert world.http.head(url, headers=TUS).status_code == 404
    assert files_on_the_way(world) == []
    assert not [p for p in (world.settings.data_folder / "files").rglob("*") if p.is_file()]


# Breaking off


@pytest.fixture
def url(url, monkeypatch):
    """A real socket; every byte is written as it comes, so that a test sees it."""
    monkeypatch.setattr(pieces, "WRITE_BYTES", 1)
    return url


def test_a_piece_that_breaks_off_keeps_what_arrived(world, url):
    address = begun(world.http)
    with begin_piece(world, url, address, SIZE, CONTENT[:3000]):
        pass

    wait_for(lambda: offset_of(world.http, address) == 3000)
    assert piece(world.http, address, 3000, CONTENT[3000:]).status_code == 204
    assert stored(world, address) == CONTENT


def test_of_two_who_write_at_once_the_second_is_refused(world, url):
    address = begun(world.http)
    with begin_piece(world, url, address, SIZE, CONTENT[:3000]):
        problem_of(piece(world.http, address, 0, CONTENT), 423, "upload_busy")
        problem_of(world.http.delete(address, headers=TUS), 423, "upload_busy")

    wait_for(lambda: piece(world.http, address, 3000, CONTENT[3000:]).status_code == 204)
    assert stored(world, address) == CONTENT


def test_who_falls_silent_does_not_hold_the_upload_for_long(world, url, monkeypatch):
    monkeypatch.setattr(pieces, "SILENCE_S", 0.05)
    address = begun(world.http)
    with begin_piece(world, url, address, SIZE, CONTENT[:3000]):
        wait_for(lambda: offset_of(world.http, address) == 3000)
        wait_for(lambda: piece(world.http, address, 3000, CONTENT[3000:]).status_code == 204)

    assert stored(world, address) == CONTENT


def test_only_what_is_on_the_disk_for_certain_counts(world):
    """What a process wrote that was killed before it counted it."""
    url = begun(world.http)
    piece(world.http, url, 0, CONTENT[:1000])
    with world.services.unfinished_file(url.rpartition("/")[2]).open("ab") as file:
        file.write(b"half a piece")

    assert offset_of(world.http, url) == 1000
    piece(world.http, url, 1000, CONTENT[1000:2000])
    piece(world.http, url, 2000, CONTENT[2000:])
    assert stored(world, url) == CONTENT


@pytest.mark.parametrize("moved", [False, True], ids=["before", "after"])
def test_a_file_that_could_not_be_registered_leaves_its_last_byte_to_send(
    world, monkeypatch, moved
):
    url = begun(world.http, metadata=f"sha256 {b64(SHA256)}")
    put = world.services.files.put

    def fails(key, source):
        if moved:
            put(key, source)
        raise StorageUnavailable("no answer")

    monkeypatch.setattr(world.services.files, "put", fails)
    problem_of(piece(world.http, url, 0, CONTENT), 503, "not_serving")
    monkeypatch.undo()

    assert offset_of(world.http, url) == SIZE - 1
    problem_of(piece(world.http, url, 0, CONTENT), 409, "wrong_offset")
    problem_of(piece(world.http, url, SIZE - 1, CONTENT[-2:]), 413, "too_large")
    assert piece(world.http, url, SIZE - 1, CONTENT[-1:]).status_code == 204
    assert stored(world, url) == CONTENT


def test_of_two_who_register_a_file_the_slower_one_is_told_that_it_is_all_there(world):
    url = begun(world.http)
    piece(world.http, url, 0, CONTENT[:1000])
    upload = world.services.unfinished.get(url.rpartition("/")[2])
    piece(world.http, url, 1000, CONTENT[1000:])

    with pytest.raises(OffsetConflict) as caught:
        resuming.finish(world.services, upload)

    assert caught.value.headers["Upload-Offset"] == str(SIZE)
    assert stored(world, url) == CONTENT


@pytest.mark.parametrize("size", [0, 1000, SIZE - 1])
def test_an_upload_whose_bytes_were_lost_says_so(world, size):
    url = begun(world.http)
    piece(world.http, url, 0, CONTENT[:size])
    world.services.unfinished_file(url.rpartition("/")[2]).unlink()

    assert world.http.head(url, headers=TUS).status_code == 410
    problem_of(piece(world.http, url, size, b"x"), 410, "upload_gone")


def test_the_whole_file_leaves_one_audit_event(world):
    http = world.of("admin", "vision")
    url = begun(http, metadata=f"filename {b64('a.pth')}")
    for start in range(0, SIZE, 5000):
        piece(http, url, start, CONTENT[start : start + 5000])
    piece(http, url, SIZE, b"")
    piece(http, url, 0, b"x")

    (event,) = http.get("/v1/audit").json()["items"]
    assert (event["action"], event["thing"]) == ("add_upload", f"uploads/{url.rpartition('/')[2]}")
    assert event["details"] == {"filename": "a.pth", "size": SIZE}


def test_anothers_client_of_the_protocol_is_served(world, url):
    headers = {"Authorization": f"Bearer {world.secret}"}
    client = TusClient(f"{url}/v1/uploads/tus", headers=headers)
    metadata = {"filename": "big.pth", "sha256": SHA256}
    first = client.uploader(file_stream=io.BytesIO(CONTENT), chunk_size=3000, metadata=metadata)
    first.upload(stop_at=4000)

    second = client.uploader(file_stream=io.BytesIO(CONTENT), chunk_size=3000, url=first.url)
    second.upload()

    assert 0 < first.offset < second.offset == SIZE
    assert stored(world, urlsplit(first.url).path) == CONTENT


# Hostile input


@pytest.mark.parametrize(
    "number", ["-1", "1e3", "0x10", "1_0", "+5", " ", "9" * 30, "9" * 5000, "NaN", "1.0", "²"]
)
def test_no_header_is_a_number_that_is_none(world, number):
    url = begun(world.http)
    value = number.encode("latin-1")
    begin = world.http.post("/v1/uploads/tus", headers=TUS | {"Upload-Length": value})
    usual = {"Upload-Offset": value, "Content-Type": "application/offset+octet-stream"}
    go_on = world.http.patch(url, content=b"x", headers=TUS | usual)

    for answer in (begin, go_on):
        problem_of(answer, 422, "invalid_request")
    assert offset_of(world.http, url) == 0


def test_the_largest_number_is_too_large_and_nothing_is_not_enough(world):
    for length, status in (("9" * 19, 413), ("0", 400), ("000", 400)):
        headers = TUS | {"Upload-Length": length}
        assert world.http.post("/v1/uploads/tus", headers=headers).status_code == status


@pytest.mark.parametrize(
    "metadata",
    [
        "filename !!!",
        "filename YQ",
        "filename YQ== YQ==",
        "filename YQ==,filename Yg==",
        "filename " + b64(b"\xff\xfe"),
        "filename " + b64("a\nb"),
        "filename " + b64("a\0b"),
        "filename " + b64("a\x7fb"),
        "filename " + b64("x" * 201),
        "sha256 " + b64("abc"),
        "sha256 " + b64("g" * 64),
        "sha256 " + b64("٣" * 64),
        b"na\xefve YQ==",
        "a\tb YQ==",
    ],
)
def test_metadata_that_says_nothing_sensible_is_refused(world, metadata):
    headers = TUS | {"Upload-Length": "5", "Upload-Metadata": metadata}
    problem_of(world.http.post("/v1/uploads/tus", headers=headers), 400, "bad_request")

    assert files_on_the_way(world) == []


def test_metadata_of_any_size_is_not_kept(world):
    headers = TUS | {"Upload-Length": "5", "Upload-Metadata": "a " + "YQ==" * 1100}
    problem_of(world.http.post("/v1/uploads/tus", headers=headers), 422, "invalid_request")


@pytest.mark.parametrize("name", ["../../../etc/passwd", "/etc/passwd", "..", "a/../b", "C:\\x"])
def test_a_filename_is_a_label_and_never_a_path(world, name):
    url = begun(world.http, 1, metadata=f"filename {b64(name)}")
    (file,) = files_on_the_way(world)
    piece(world.http, url, 0, b"x")

    upload = world.services.library.upload(file)
    assert (upload.filename, upload.key) == (name, f"uploads/{file}")


@pytest.mark.parametrize("name", ["..", "..%2f..%2fpgd.sqlite", "a%00b", "x" * 65, "%2e%2e", "é"])
def test_an_address_is_never_a_path(world, name):
    url = f"/v1/uploads/tus/{name}"

    assert world.http.head(url, headers=TUS).status_code in (404, 405)
    assert piece(world.http, url, 0, b"x").status_code in (404, 405)
    assert world.http.delete(url, headers=TUS).status_code in (404, 405)


# What several tests use


def stored(world, url):
    key = world.services.library.upload(url.rpartition("/")[2]).key
    return world.services.files.path(key).read_bytes()


def begin_piece(world, url, address, length, content):
    """A connection on which the first bytes of a PATCH were sent."""
    host, port = url.removeprefix("http://").split(":")
    caller = socket.create_connection((host, int(port)))
    caller.sendall(
        f"PATCH {address} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {world.secret}\r\n"
        "Tus-Resumable: 1.0.0\r\nUpload-Offset: 0\r\n"
        "Content-Type: application/offset+octet-stream\r\n"
        f"Content-Length: {length}\r\n\r\n".encode()
        + content
    )
    file = world.services.unfinished_file(address.rpartition("/")[2])
    wait_for(lambda: file.stat().st_size == len(content))
    return caller
