"""Downloads from a store with links of its own: a real server that speaks S3."""

from __future__ import annotations

import hashlib
import shutil
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest

from api.client import ApiError, Client, transfers
from api.client import artifacts as client_module
from pgd_core.errors import StorageUnavailable
from pgd_core.settings import Settings
from tests.api.answers import problem_of
from tests.api.conftest import World
from tests.servers import free_port

CONTENT = bytes(range(256)) * 10_000
SHA256 = hashlib.sha256(CONTENT).hexdigest()
ETAG = f'"{SHA256}"'


@pytest.fixture
def settings(tmp_path, migrated, s3_server, monkeypatch):
    bucket = s3_server.bucket(monkeypatch)
    data = tmp_path / "data"
    data.mkdir()
    shutil.copy(migrated, data / "pgd.sqlite")
    return Settings(data_folder=data, dataset_roots=(tmp_path,), files_url=f"s3://{bucket}/pgd")


@pytest.fixture
def world(settings, tmp_path):
    world = World(settings, tmp_path)
    world.http.follow_redirects = False
    with world.http:
        yield world


@pytest.fixture
def job_id(world):
    return world.succeeded({"detector.safetensors": CONTENT})


@pytest.fixture
def path(job_id):
    return f"/v1/jobs/{job_id}/artifacts/detector.safetensors"


def test_a_download_is_a_link_to_the_storage_for_ten_minutes(world, path, s3_server):
    answer = world.http.get(path)

    assert (answer.status_code, answer.content) == (307, b"")
    link = answer.headers["location"]
    assert link.startswith(s3_server.url)
    assert parse_qs(urlsplit(link).query)["X-Amz-Expires"] == ["600"]
    assert answer.headers["etag"] == ETAG
    assert answer.headers["repr-digest"].startswith("sha-256=:")
    assert answer.headers["cache-control"] == "no-store"
    file = httpx.get(link, trust_env=False)
    assert (file.status_code, file.content) == (200, CONTENT)
    assert file.headers["content-disposition"] == 'attachment; filename="detector.safetensors"'
    assert file.headers["content-type"] == "application/octet-stream"


def test_the_link_gives_ranges(world, path):
    headers = {"Range": "bytes=10-19"}
    link = world.http.get(path, headers=headers).headers["location"]

    part = httpx.get(link, headers=headers, trust_env=False)

    assert (part.status_code, part.content) == (206, CONTENT[10:20])
    assert part.headers["content-range"] == f"bytes 10-19/{len(CONTENT)}"


def test_head_tells_of_the_file_without_a_redirect(world, path):
    answer = world.http.head(path)

    assert (answer.status_code, answer.content) == (200, b"")
    assert answer.headers["content-length"] == str(len(CONTENT))
    assert answer.headers["accept-ranges"] == "bytes"
    assert answer.headers["etag"] == ETAG


def test_what_the_caller_has_is_not_sent_again(world, path):
    assert world.http.get(path, headers={"If-None-Match": ETAG}).status_code == 304
    assert world.http.get(path, headers={"If-None-Match": '"other"'}).status_code == 307


def test_if_range_gives_the_part_only_of_the_same_file(world, path):
    same = world.http.get(path, headers={"Range": "bytes=0-9", "If-Range": ETAG})
    other = world.http.get(path, headers={"Range": "bytes=0-9", "If-Range": '"other"'})

    assert (same.status_code, same.content) == (206, CONTENT[:10])
    assert (other.status_code, other.content) == (200, CONTENT)


def test_there_is_no_link_to_a_file_that_is_gone(world, job_id, path):
    world.services.files.delete(world.services.jobs.artifact(job_id, "detector.safetensors").key)

    problem_of(world.http.get(path), 404, "not_found")
    assert world.http.head(path).status_code == 404


def test_an_upload_goes_to_the_bucket(world):
    answer = world.http.post("/v1/uploads", params={"filename": "a.pth"}, content=b"weights")

    assert answer.status_code == 201, answer.text
    key = world.services.library.upload(answer.json()["id"]).key
    assert world.services.files.path(key).read_bytes() == b"weights"


def test_a_file_that_came_in_pieces_goes_to_the_bucket(world, monkeypatch):
    tus = {"Tus-Resumable": "1.0.0"}
    begin = world.http.post("/v1/uploads/tus", headers=tus | {"Upload-Length": "7"})
    url, finish = begin.headers["location"], world.services.unfinished.finish

    def piece(start, content):
        usual = {"Upload-Offset": str(start), "Content-Type": "application/offset+octet-stream"}
        return world.http.patch(url, content=content, headers=tus | usual)

    def fails(*_, **__):
        raise StorageUnavailable("killed")

    monkeypatch.setattr(world.services.unfinished, "finish", fails)
    problem_of(piece(0, b"weights"), 503, "not_serving")  # it lies in the bucket, unregistered
    monkeypatch.setattr(world.services.unfinished, "finish", finish)
    assert piece(6, b"s").status_code == 204

    key = world.services.library.upload(url.rpartition("/")[2]).key
    assert world.services.files.path(key).read_bytes() == b"weights"


@pytest.fixture
def world_without_storage(world, settings, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", f"http://127.0.0.1:{free_port()}")
    return World(settings, world.roots)


def test_storage_that_is_down_is_told_as_such(path, world_without_storage):
    http = world_without_storage.http

    for answer in (
        http.get(path),
        http.post("/v1/uploads", params={"filename": "a.pth"}, content=b"weights"),
    ):
        problem = problem_of(answer, 503, "not_serving")
        assert "try again" in problem["detail"]
        assert "127.0.0.1" not in problem["detail"]
        assert int(answer.headers["retry-after"]) > 0
    ready = problem_of(http.get("/readyz"), 503, "not_serving")
    assert "/checks/storage" in [item["pointer"] for item in ready["errors"]]
    assert not list(world_without_storage.services.scratch_folder().iterdir())


def test_a_bucket_that_serves_is_ready(world):
    assert world.services.checks["storage"]() == "the bucket answers"


# The Python client


PIECE_BYTES = 50_000


class Breaking(httpx.BaseTransport):
    """The real network, on which answers of the storage break off after so many pieces, however it
    cuts them."""

    def __init__(self, breaks: list[int], storage: str) -> None:
        self._real = httpx.HTTPTransport()
        self._breaks, self._storage = breaks, storage
        self.ranges: list[str | None] = []  # that the storage was asked for

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        answer = self._real.handle_request(request)
        if str(request.url).startswith(self._storage):
            assert "authorization" not in request.headers  # the key is not for the storage
            self.ranges.append(request.headers.get("range"))
            if self._breaks:
                answer.stream = Broken(answer.stream, self._breaks.pop(0))
        return answer

    def close(self) -> None:
        self._real.close()


class Broken(httpx.SyncByteStream):
    def __init__(self, stream, pieces: int) -> None:
        self._stream, self._pieces = stream, pieces

    def __iter__(self):
        left = self._pieces * PIECE_BYTES
        for part in self._stream:
            yield part[:left]
            left -= len(part)
            if left <= 0:
                raise httpx.ReadError("connection reset")

    def close(self) -> None:
        self._stream.close()


def client_over(url, transport):
    client = Client(url)
    client.close()
    headers = client._http.headers
    client._http = httpx.Client(base_url=url, headers=headers, transport=transport)
    return client


def test_the_client_follows_the_link(url, job_id, tmp_path):
    with Client(url) as client:
        file = client.download(job_id, "detector.safetensors", tmp_path / "mine")

    assert file.read_bytes() == CONTENT


def test_the_client_goes_on_where_a_connection_broke(url, job_id, tmp_path, s3_server, monkeypatch):
    monkeypatch.setattr(client_module, "READ_BYTES", PIECE_BYTES)
    monkeypatch.setattr(transfers, "RESUME_AFTER_S", (0, 0))
    transport = Breaking([4, 0, 0, 6], s3_server.url)
    with client_over(url, transport) as client:
        file = client.download(job_id, "detector.safetensors", tmp_path / "mine")

    assert file.read_bytes() == CONTENT
    assert len(transport.ranges) == 5
    assert transport.ranges[0] is None
    starts = [int(asked.removeprefix("bytes=").removesuffix("-")) for asked in transport.ranges[1:]]
    assert 0 < starts[0] == starts[1] == starts[2] < starts[3] < len(CONTENT)


def test_the_client_gives_up_where_it_gets_no_further_and_the_next_goes_on_there(
    url, job_id, tmp_path, s3_server, monkeypatch
):
    monkeypatch.setattr(client_module, "READ_BYTES", PIECE_BYTES)
    monkeypatch.setattr(transfers, "RESUME_AFTER_S", (0, 0))
    transport = Breaking([4, 0, 0, 0, 0], s3_server.url)
    with client_over(url, transport) as client, pytest.raises(ApiError, match="connection reset"):
        client.download(job_id, "detector.safetensors", tmp_path / "mine")

    assert len(transport.ranges) == 4
    assert not (tmp_path / "mine").exists()
    assert (tmp_path / "mine.part").read_bytes() == CONTENT[:200_000]
    again = Breaking([], s3_server.url)
    with client_over(url, again) as client:
        assert client.download(job_id, "detector.safetensors", tmp_path / "mine").exists()
    assert again.ranges == ["bytes=200000-"]
    assert (tmp_path / "mine").read_bytes() == CONTENT
    assert not (tmp_path / "mine.part").exists()


def test_the_client_refuses_what_was_altered_in_the_bucket(world, url, job_id, tmp_path):
    (tmp_path / "other").write_bytes(b"other")
    key = world.services.jobs.artifact(job_id, "detector.safetensors").key
    world.services.files.put(key, tmp_path / "other")

    with Client(url) as client, pytest.raises(ApiError, match="arrived with sha256"):
        client.download(job_id, "detector.safetensors", tmp_path / "mine")
    assert not [file for file in tmp_path.iterdir() if "mine" in file.name]
