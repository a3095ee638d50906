"""Downloads that go on where an earlier one ended, from the service's own disk."""

from __future__ import annotations

import httpx
import pytest

from api.client import ApiError, Client, transfers

CONTENT = bytes(range(256)) * 20_000
SIZE = len(CONTENT)
NAME = "detector.safetensors"


class Noting(httpx.BaseTransport):
    """The real network; it notes the ranges that were asked for, and may alter ETags."""

    def __init__(self, etag: str = "") -> None:
        self._real, self._etag = httpx.HTTPTransport(), etag
        self.ranges: list[str | None] = []

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        answer = self._real.handle_request(request)
        if request.url.path.endswith(NAME):
            self.ranges.append(request.headers.get("range"))
            if self._etag:
                answer.headers["etag"] = self._etag
        return answer

    def close(self) -> None:
        self._real.close()


@pytest.fixture
def job_id(world):
    return world.succeeded({NAME: CONTENT})


@pytest.fixture
def get(url, job_id, tmp_path):
    """Downloads into `tmp_path/mine`; what was asked for."""

    def download(transport=None, progress=transfers.silent):
        transport = transport or Noting()
        with Client(url) as client:
            headers = client._http.headers
            client._http.close()
            client._http = httpx.Client(base_url=url, headers=headers, transport=transport)
            client.download(job_id, NAME, tmp_path / "mine", progress)
        return transport.ranges

    return download


def is_whole(tmp_path):
    return (tmp_path / "mine").read_bytes() == CONTENT and not (tmp_path / "mine.part").exists()


def test_progress_is_told_to_the_end(get, tmp_path):
    seen = []
    get(progress=lambda done, whole: seen.append((done, whole)))

    assert seen == sorted(seen)
    assert seen[-1] == (SIZE, SIZE)
    assert is_whole(tmp_path)


@pytest.mark.parametrize("size", [1, 1_000_000, SIZE - 1])
def test_what_an_earlier_call_got_is_not_fetched_again(get, tmp_path, size):
    (tmp_path / "mine.part").write_bytes(CONTENT[:size])

    assert get() == [f"bytes={size}-"]
    assert is_whole(tmp_path)


def test_a_part_that_is_whole_is_only_checked(get, tmp_path):
    (tmp_path / "mine.part").write_bytes(CONTENT)

    assert get() == []
    assert is_whole(tmp_path)


@pytest.mark.parametrize("size", [1000, SIZE, 2 * SIZE])
def test_a_part_of_another_file_is_thrown_away(get, tmp_path, size):
    (tmp_path / "mine.part").write_bytes(b"?" * size)

    assert get()[-1] is None
    assert is_whole(tmp_path)


def test_a_part_is_not_continued_with_bytes_of_another_file(get, tmp_path):
    (tmp_path / "mine.part").write_bytes(CONTENT[:1000])

    assert get(Noting(etag='"another"')) == ["bytes=1000-", None]
    assert is_whole(tmp_path)


def test_a_service_that_is_down_costs_no_part(world, url, job_id, tmp_path, monkeypatch):
    monkeypatch.setattr(transfers, "RESUME_AFTER_S", ())
    (tmp_path / "mine.part").write_bytes(CONTENT[:1000])
    world.services.files.delete(world.services.jobs.artifact(job_id, NAME).key)

    with Client(url) as client, pytest.raises(ApiError, match="no file"):
        client.download(job_id, NAME, tmp_path / "mine")

    assert (tmp_path / "mine.part").read_bytes() == CONTENT[:1000]
