"""Sending files: at once or in pieces, over connections that break."""

from __future__ import annotations

import hashlib
import json

import httpx
import pytest

from api.client import ApiError, Client, transfers, uploads
from api.client.credentials import config_folder

CONTENT = bytes(range(256)) * 390
SIZE = len(CONTENT)
SHA256 = hashlib.sha256(CONTENT).hexdigest()


class Breaking(httpx.BaseTransport):
    """The real network, where the bodies of PATCHes break off after so many pieces of content.

    A break of "lost" sends all of it, and loses the answer.
    """

    def __init__(self, breaks: list[int | str]) -> None:
        self._real = httpx.HTTPTransport()
        self._breaks = breaks
        self.asked: list[tuple[str, str | None]] = []  # method, and where a piece was put

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        self.asked.append((request.method, request.headers.get("upload-offset")))
        if request.method != "PATCH" or not self._breaks:
            return self._real.handle_request(request)
        at = self._breaks.pop(0)
        if at == "lost":
            self._real.handle_request(request).read()
            raise httpx.ReadError("connection reset")
        request.stream = Broken(request.stream, at)
        return self._real.handle_request(request)

    def close(self) -> None:
        self._real.close()


class Broken(httpx.SyncByteStream):
    def __init__(self, stream, pieces: int) -> None:
        self._stream, self._pieces = stream, pieces

    def __iter__(self):
        for number, piece in enumerate(self._stream):
            if number == self._pieces:
                raise httpx.WriteError("connection reset")
            yield piece


@pytest.fixture
def small(monkeypatch):
    """Everything is large, and nobody waits."""
    monkeypatch.setattr(uploads, "AT_ONCE_BYTES", 1000)
    monkeypatch.setattr(uploads, "PIECE_BYTES", 40_000)
    monkeypatch.setattr(transfers, "READ_BYTES", 1000)
    monkeypatch.setattr(transfers, "RESUME_AFTER_S", (0, 0, 0, 0))


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "big.pth"
    path.write_bytes(CONTENT)
    return path


def client_over(url, breaks):
    client = Client(url)
    client.close()
    transport = Breaking(breaks)
    client._http = httpx.Client(
        base_url=url, headers=client._http.headers, transport=transport, timeout=20
    )
    return client, transport


def remembered():
    return list((config_folder() / "uploads").glob("*.json"))


def stored(world, upload):
    return world.services.files.path(world.services.library.upload(upload.id).key).read_bytes()


@pytest.mark.usefixtures("small")
def test_a_large_file_goes_in_pieces(world, url, file):
    client, transport = client_over(url, [])
    seen = []
    with client:
        upload = client.upload(file, lambda done, whole: seen.append((done, whole)))

    assert (upload.filename, upload.size, upload.sha256) == ("big.pth", SIZE, SHA256)
    assert stored(world, upload) == CONTENT
    places = [offset for method, offset in transport.asked if method == "PATCH"]
    assert places == ["0", "40000", "80000"]
    assert seen == sorted(seen)
    assert seen[-1] == (SIZE, SIZE)
    assert remembered() == []


def test_a_small_file_goes_at_once(world, url, file):
    client, transport = client_over(url, [])
    with client:
        upload = client.upload(file)

    assert [method for method, _ in transport.asked] == ["POST"]
    assert stored(world, upload) == CONTENT


@pytest.mark.usefixtures("small")
def test_the_client_goes_on_where_a_connection_broke(world, url, file):
    client, transport = client_over(url, [5, 0, 7, "lost", "lost"])
    with client:
        upload = client.upload(file)

    assert stored(world, upload) == CONTENT
    assert [method for method, _ in transport.asked].count("POST") == 1
    places = [int(offset) for method, offset in transport.asked if method == "PATCH"]
    assert places == sorted(places)
    assert remembered() == []


@pytest.mark.usefixtures("small")
def test_what_one_process_could_not_finish_the_next_one_does(world, url, file, tmp_path):
    client, _ = client_over(url, ["lost", *[0] * 6])
    with client, pytest.raises(ApiError, match="connection reset"):
        client.upload(file)
    (memory,) = remembered()
    assert json.loads(memory.read_text())["file"] == str(file)
    assert memory.stat().st_mode & 0o777 == 0o600

    copy = file.rename(tmp_path / "copy.pth")
    client, transport = client_over(url, [])
    with client:
        upload = client.upload(copy)

    assert transport.asked[:2] == [("HEAD", None), ("PATCH", "40000")]
    assert stored(world, upload) == CONTENT
    assert remembered() == []


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("what", ["another team's", "gone", "damaged", "of another server"])
def test_what_is_remembered_in_vain_is_begun_anew(world, url, file, what):
    client, _ = client_over(url, ["lost", *[0] * 6])
    with client, pytest.raises(ApiError, match="connection reset"):
        client.upload(file)
    (memory,) = remembered()
    address = json.loads(memory.read_text())["upload"]
    if what == "another team's":
        client = Client(url, api_key=world.secret_of("submitter", "other"))
    else:
        client = Client(url)
    if what == "gone":
        world.http.delete(address, headers={"Tus-Resumable": "1.0.0"})
    if what == "damaged":
        memory.write_text("{")
    if what == "of another server":
        memory.write_text(json.dumps({"upload": "https://example.org/v1/uploads/tus/1"}))

    with client:
        upload = client.upload(file)

    assert stored(world, upload) == CONTENT
    assert remembered() == []


@pytest.mark.usefixtures("small")
def test_another_file_of_the_same_name_is_another_upload(world, url, file):
    client, _ = client_over(url, ["lost", *[0] * 6])
    with client, pytest.raises(ApiError, match="connection reset"):
        client.upload(file)
    other = CONTENT[::-1]
    file.write_bytes(other)

    with Client(url) as client:
        upload = client.upload(file)

    assert stored(world, upload) == other
    for memory in remembered():
        memory.unlink()


@pytest.mark.usefixtures("small")
def test_a_file_that_changes_on_the_way_is_refused(world, url, file):
    def change(done, _whole):
        if done >= 40_000:
            file.write_bytes(b"?" * SIZE)

    with Client(url) as client, pytest.raises(ApiError, match="sha256") as caught:
        client.upload(file, change)

    assert caught.value.code == "digest_mismatch"
    assert remembered() == []
    assert world.http.get("/v1/audit").json()["items"] == []


@pytest.mark.usefixtures("small")
def test_what_the_service_refuses_is_told_at_once(world, url, file):
    client = Client(url, api_key=world.secret_of("viewer"))
    with client, pytest.raises(ApiError) as caught:
        client.upload(file)
    assert (caught.value.status, caught.value.code) == (403, "forbidden")
    file.write_bytes(b"x" * 100_001)
    with Client(url) as client, pytest.raises(ApiError, match="PGD_MAX_UPLOAD_BYTES"):
        client.upload(file)
    assert remembered() == []


@pytest.mark.usefixtures("small")
def test_a_service_that_is_not_there_is_told_so_at_once(file, monkeypatch):
    monkeypatch.setattr(uploads.time, "sleep", None)
    with Client("http://127.0.0.1:9") as client, pytest.raises(ApiError, match="pgd up"):
        client.upload(file)
