"""Raw bodies streamed to disk."""

from __future__ import annotations

import hashlib
import json
import socket
import subprocess
from types import SimpleNamespace

import httpx
import pytest
import structlog

from api import pieces, receiving
from api.downloads import repr_digest
from tests.api.answers import problem_of
from tests.worker.conftest import wait_for

CONTENT = b"weights" * 1000
SHA256 = hashlib.sha256(CONTENT).hexdigest()


def nothing_is_left(world):
    incoming = list((world.settings.data_folder / "incoming").glob("*"))
    stored = list((world.settings.data_folder / "files").rglob("*"))
    return not incoming and not [path for path in stored if path.is_file()]


def test_an_upload_is_stored_and_its_sha256_told(world):
    answer = world.http.post("/v1/uploads", content=CONTENT, headers={"X-Filename": "a b.pth"})

    assert answer.status_code == 201, answer.text
    upload = answer.json()
    assert answer.headers["location"] == f"/v1/uploads/{upload['id']}"
    assert (upload["filename"], upload["size"], upload["sha256"]) == ("a b.pth", 7000, SHA256)
    key = world.services.library.upload(upload["id"]).key
    assert world.services.files.path(key).read_bytes() == CONTENT
    assert world.http.get(answer.headers["location"]).json() == upload


def test_curl_sends_a_file_that_the_address_names(world, url, tmp_path):
    file = tmp_path / "big one.pth"
    file.write_bytes(CONTENT)
    command = ["curl", "--silent", "--noproxy", "*", "-T", str(file), f"{url}/v1/uploads/files/"]

    said = subprocess.run(
        [*command, "-H", f"Authorization: Bearer {world.secret}"],
        stdout=subprocess.PIPE,
        check=True,
    )

    upload = json.loads(said.stdout)
    assert (upload["filename"], upload["size"], upload["sha256"]) == ("big one.pth", 7000, SHA256)


def test_a_file_that_is_put_is_checked_like_any_other(world):
    headers = {"Repr-Digest": repr_digest(hashlib.sha256(b"other").hexdigest())}
    address = "/v1/uploads/files/a.pth"

    answer = world.http.put(address, content=CONTENT, headers=headers)
    problem_of(answer, 400, "digest_mismatch")
    problem_of(world.http.put(address, content=b"x" * 100_001), 413, "too_large")
    problem_of(world.http.put("/v1/uploads/files/a%00b", content=CONTENT), 404, "not_found")
    assert nothing_is_left(world)


def test_the_filename_is_a_label_and_never_a_path(world):
    answer = world.http.post("/v1/uploads?filename=../../../etc/passwd", content=CONTENT)

    upload = world.services.library.upload(answer.json()["id"])
    assert upload.filename == "../../../etc/passwd"
    assert upload.key == f"uploads/{upload.id}"


def test_a_body_without_a_length_is_taken_piece_by_piece(world):
    answer = world.http.post(
        "/v1/uploads", content=(CONTENT[n : n + 999] for n in range(0, 7000, 999))
    )

    assert answer.json()["sha256"] == SHA256


def test_a_body_that_says_it_is_too_large_is_refused_before_it_is_read(world):
    problem = problem_of(world.http.post("/v1/uploads", content=b"x" * 100_001), 413, "too_large")

    assert "100000 bytes" in problem["detail"]
    assert nothing_is_left(world)


def test_a_body_that_grows_too_large_is_refused_and_removed(world):
    answer = world.http.post("/v1/uploads", content=(b"x" * 10_000 for _ in range(11)))

    problem_of(answer, 413, "too_large")
    assert nothing_is_left(world)


def test_announced_digests_are_checked(world):
    headers = {"Repr-Digest": f"sha-512=:AAAA:, {repr_digest(SHA256)}"}

    answer = world.http.post(
        f"/v1/uploads?sha256={SHA256.upper()}", content=CONTENT, headers=headers
    )

    assert answer.status_code == 201


@pytest.mark.parametrize("how", ["query", "header"])
def test_a_body_that_is_not_what_was_announced_is_refused_and_removed(world, how):
    other = hashlib.sha256(b"other").hexdigest()
    query = {"sha256": other} if how == "query" else {}
    headers = {"Repr-Digest": repr_digest(other)} if how == "header" else {}

    answer = world.http.post("/v1/uploads", content=CONTENT, params=query, headers=headers)

    problem_of(answer, 400, "digest_mismatch")
    assert nothing_is_left(world)


@pytest.mark.parametrize("digest", ["sha-256=:AAAA:", "sha-256=abc", "sha-256=:*:", "sha-256"])
def test_a_malformed_digest_is_refused(world, digest):
    answer = world.http.post("/v1/uploads", content=CONTENT, headers={"Repr-Digest": digest})

    problem_of(answer, 400, "bad_request")


def test_an_empty_body_is_refused(world):
    problem_of(world.http.post("/v1/uploads", content=b""), 400, "bad_request")
    assert nothing_is_left(world)


@pytest.mark.parametrize("query", ["sha256=abc", "filename=" + "x" * 201, "filename=a%00b", "f=1"])
def test_an_impossible_query_is_refused(world, query):
    answer = world.http.post(f"/v1/uploads?{query}", content=CONTENT)

    problem_of(answer, 422, "invalid_request")


def test_a_full_disk_is_told_and_nothing_is_kept(world, monkeypatch):
    def full(_key, _source):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(world.services.files, "put", full)

    problem_of(world.http.post("/v1/uploads", content=CONTENT), 507, "storage_full")
    assert nothing_is_left(world)


def test_a_disk_that_others_fill_meanwhile_stays_above_its_mark(world, monkeypatch):
    monkeypatch.setattr(pieces, "WRITE_BYTES", 1000)
    incoming = world.settings.data_folder / "incoming"

    def usage(_folder):
        written = sum(file.stat().st_size for file in incoming.glob("*"))
        free = world.settings.min_free_bytes + 5500 - written
        return SimpleNamespace(free=free)

    monkeypatch.setattr(receiving.shutil, "disk_usage", usage)
    body = (bytes(1000) for _ in range(50))

    problem_of(world.http.post("/v1/uploads", content=body), 507, "storage_full")
    assert nothing_is_left(world)


def test_a_body_that_falls_silent_holds_nothing_for_long(world, url, monkeypatch):
    monkeypatch.setattr(pieces, "SILENCE_S", 0.05)
    host, port = url.removeprefix("http://").split(":")

    with socket.create_connection((host, int(port)), timeout=30) as caller:
        caller.sendall(
            f"POST /v1/uploads HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {world.secret}\r\n"
            "Transfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n".encode()
        )
        answer = caller.recv(10_000)

    assert answer.startswith(b"HTTP/1.1 400 ")
    assert nothing_is_left(world)


def test_an_upload_that_does_not_exist_is_not_found(world):
    problem_of(world.http.get("/v1/uploads/none"), 404, "not_found")


def test_an_upload_that_cannot_be_registered_leaves_no_file(world, monkeypatch):
    def fails(_upload):
        raise RuntimeError("the database is down")

    monkeypatch.setattr(world.services.library, "add_upload", fails)
    problem_of(world.http.post("/v1/uploads", content=CONTENT), 500, "internal_error")

    assert nothing_is_left(world)


def test_a_body_that_breaks_off_leaves_nothing_and_is_no_defect(world, url):
    incoming = world.settings.data_folder / "incoming"
    host, port = url.removeprefix("http://").split(":")

    with structlog.testing.capture_logs() as logged:
        with socket.create_connection((host, int(port))) as caller:
            caller.sendall(
                f"POST /v1/uploads HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {world.secret}\r\n"
                "Content-Length: 9000\r\n\r\nhalf".encode()
            )
            wait_for(lambda: list(incoming.glob("*")))
        wait_for(lambda: not list(incoming.glob("*")))
        assert httpx.get(f"{url}/livez", trust_env=False).is_success  # the loop has gone on

    assert nothing_is_left(world)
    assert [line["event"] for line in logged] == []
