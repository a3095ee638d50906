"""Downloads: whole, in ranges, not at all when the caller has it."""

from __future__ import annotations

import base64
import hashlib

import pytest

from tests.api.answers import problem_of

CONTENT = bytes(range(256)) * 40
SHA256 = hashlib.sha256(CONTENT).hexdigest()
ETAG = f'"{SHA256}"'


@pytest.fixture
def url(world):
    job_id = world.succeeded({"detector.safetensors": CONTENT, "metrics.json": b"{}"})
    return f"/v1/jobs/{job_id}/artifacts/detector.safetensors"


def test_artifacts_are_listed_with_size_and_sha256(world, url):
    items = world.http.get(url.rpartition("/")[0]).json()["items"]

    assert [item["name"] for item in items] == ["detector.safetensors", "metrics.json"]
    assert (items[0]["size"], items[0]["sha256"]) == (len(CONTENT), SHA256)
    assert "key" not in items[0]


def test_a_whole_download_says_what_it_is(world, url):
    answer = world.http.get(url)

    assert answer.status_code == 200
    assert answer.content == CONTENT
    digest = base64.b64encode(hashlib.sha256(CONTENT).digest()).decode()
    expected = {
        "content-length": str(len(CONTENT)),
        "etag": ETAG,
        "repr-digest": f"sha-256=:{digest}:",
        "content-disposition": 'attachment; filename="detector.safetensors"',
        "content-type": "application/octet-stream",
        "x-content-type-options": "nosniff",
        "accept-ranges": "bytes",
    }
    assert {name: answer.headers[name] for name in expected} == expected


def test_head_says_the_same_without_the_content(world, url):
    answer = world.http.head(url)

    assert (answer.status_code, answer.content) == (200, b"")
    assert answer.headers["etag"] == ETAG
    assert answer.headers["content-length"] == str(len(CONTENT))


@pytest.mark.parametrize(
    ("asked", "start", "end"),
    [
        ("0-9", 0, 10),
        ("10000-", 10000, 10240),
        ("-40", 10200, 10240),
        ("10230-99999", 10230, 10240),
    ],
)
def test_a_range_is_answered_with_that_part(world, url, asked, start, end):
    answer = world.http.get(url, headers={"Range": f"bytes={asked}"})

    assert answer.status_code == 206
    assert answer.content == CONTENT[start:end]
    assert answer.headers["content-range"] == f"bytes {start}-{end - 1}/{len(CONTENT)}"
    assert answer.headers["content-length"] == str(end - start)
    assert answer.headers["etag"] == ETAG


def test_a_range_outside_the_file_is_416_with_the_true_size(world, url):
    answer = world.http.get(url, headers={"Range": "bytes=99999-"})

    problem = problem_of(answer, 416, "range_not_satisfiable")
    assert answer.headers["content-range"] == f"bytes */{len(CONTENT)}"
    assert str(len(CONTENT)) in problem["detail"]


@pytest.mark.parametrize("asked", ["bytes=9-2", "bytes=x-y", "bytes=", "lines=1-2", "bytes"])
def test_a_malformed_range_is_a_problem_too(world, url, asked):
    problem_of(world.http.get(url, headers={"Range": asked}), 400, "bad_request")


def test_if_range_gives_the_part_only_of_the_same_file(world, url):
    same = world.http.get(url, headers={"Range": "bytes=0-9", "If-Range": ETAG})
    other = world.http.get(url, headers={"Range": "bytes=0-9", "If-Range": '"other"'})

    assert (same.status_code, same.content) == (206, CONTENT[:10])
    assert (other.status_code, other.content) == (200, CONTENT)


@pytest.mark.parametrize("known", [ETAG, f"W/{ETAG}", f'"other", {ETAG}', "*"])
def test_what_the_caller_has_is_not_sent_again(world, url, known):
    answer = world.http.get(url, headers={"If-None-Match": known})

    assert (answer.status_code, answer.content) == (304, b"")
    assert answer.headers["etag"] == ETAG


def test_another_file_than_the_callers_is_sent(world, url):
    assert world.http.get(url, headers={"If-None-Match": '"other"'}).status_code == 200


@pytest.mark.parametrize("name", ["student.pth", "..%2F..%2Fpgd.sqlite", "a%00b", "x" * 201])
def test_an_artifact_that_does_not_exist_is_not_found(world, url, name):
    answer = world.http.get(f"{url.rpartition('/')[0]}/{name}")

    assert answer.status_code == 404
    assert answer.json()["code"] == "not_found"


def test_a_file_that_is_gone_from_the_store_is_not_found(world, url):
    artifact = world.services.jobs.artifact(url.split("/")[3], "detector.safetensors")
    world.services.files.delete(artifact.key)

    problem_of(world.http.get(url), 404, "not_found")
