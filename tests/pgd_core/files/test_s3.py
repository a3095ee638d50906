"""What a bucket does beyond the contract, and what happens when it is not there."""

from __future__ import annotations

import base64
import hashlib
import socket
from datetime import timedelta
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from botocore.config import Config
from botocore.exceptions import EndpointConnectionError

from pgd_core.errors import NotFound, PgdError, StorageUnavailable
from pgd_core.files import open_files, s3
from pgd_core.settings import Settings
from tests.servers import free_port

PART_BYTES = 8 * 2**20  # boto3's own
MINUTE = timedelta(minutes=1)


@pytest.fixture
def bucket(s3_server, monkeypatch):
    return s3_server.bucket(monkeypatch)


@pytest.fixture
def settings(tmp_path, bucket):
    return Settings(data_folder=tmp_path / "data", files_url=f"s3://{bucket}/pgd")


@pytest.fixture
def files(settings):
    return open_files(settings)


@pytest.fixture
def source(tmp_path):
    path = tmp_path / "source"
    path.write_bytes(b"weights" * 300_000)
    return path


def test_an_object_tells_its_sha256_under_the_prefix(files, source, bucket):
    _, sha256 = files.put("a/b", source)

    head = files._client.head_object(Bucket=bucket, Key="pgd/a/b", ChecksumMode="ENABLED")
    assert head["Metadata"] == {"sha256": sha256}


def test_the_server_is_told_the_sha256_of_what_it_should_get(files, source):
    digest = base64.b64encode(hashlib.sha256(source.read_bytes()).digest())
    sent = []
    files._client.meta.events.register(
        "before-send.s3.PutObject", lambda request, **_: sent.append(request.headers)
    )

    files.put("a", source)

    assert [headers["x-amz-checksum-sha256"] for headers in sent] == [digest]


def test_a_put_that_breaks_leaves_the_old_file_the_source_and_no_part(files, source, bucket):
    files.put("a", source)
    content = b"new" * PART_BYTES
    source.write_bytes(content)
    parts = []

    def break_off(request, **_):
        parts.append(request.url)
        if len(parts) > 1:
            raise EndpointConnectionError(endpoint_url=request.url)

    files._client.meta.events.register("before-send.s3.UploadPart", break_off)
    with pytest.raises(StorageUnavailable, match="does not serve"):
        files.put("a", source)

    assert len(parts) > 1
    assert files.path("a").read_bytes() == b"weights" * 300_000
    assert source.read_bytes() == content
    assert "Uploads" not in files._client.list_multipart_uploads(Bucket=bucket)


def test_a_large_file_goes_and_comes_in_parts(files, source):
    content = bytes(range(256)) * (2 * PART_BYTES // 256) + b"end"
    source.write_bytes(content)

    size, sha256 = files.put("a", source)

    assert (size, sha256) == (len(content), hashlib.sha256(content).hexdigest())
    assert files.path("a").read_bytes() == content


def test_a_file_that_was_altered_in_the_bucket_is_not_given_out(files, source, bucket):
    _, sha256 = files.put("a", source)
    files._client.put_object(Bucket=bucket, Key="pgd/a", Body=b"other", Metadata={"sha256": sha256})

    with pytest.raises(StorageUnavailable, match="arrived with"):
        files.path("a")


def test_a_file_that_was_altered_in_the_cache_is_fetched_anew(files, source):
    content = source.read_bytes()
    files.put("a", source)
    files.path("a").write_bytes(content[:-1])

    assert files.path("a").read_bytes() == content


def test_an_object_of_somebody_else_is_refused_with_the_way_out(files, bucket):
    files._client.put_object(Bucket=bucket, Key="pgd/a", Body=b"other")

    with pytest.raises(NotFound, match="not put here by this service"):
        files.path("a")


def test_a_folder_of_more_files_than_a_page_is_listed_whole(files, bucket):
    for name in "cab":
        files._client.put_object(Bucket=bucket, Key=f"pgd/many/{name}", Body=b"")
    files._client.meta.events.register(
        "provide-client-params.s3.ListObjectsV2", lambda params, **_: params | {"MaxKeys": 2}
    )

    assert files.keys("many") == ["many/a", "many/b", "many/c"]


def test_a_link_gives_the_file_to_anyone_for_a_while_under_its_name(files, source):
    content = source.read_bytes()
    files.put("a", source)

    link = files.link("a", "student 1.pth", "text/csv", timedelta(minutes=10))
    answer = httpx.get(link, headers={"Range": "bytes=7-"}, trust_env=False)

    assert parse_qs(urlsplit(link).query)["X-Amz-Expires"] == ["600"]
    assert (answer.status_code, answer.content) == (206, content[7:])
    assert answer.headers["content-type"].startswith("text/csv")
    assert answer.headers["content-disposition"] == "attachment; filename*=utf-8''student%201.pth"


def test_there_is_no_link_to_a_file_that_is_not_there(files):
    with pytest.raises(NotFound):
        files.link("none", "a", "text/csv", MINUTE)


# A store that is not there


def every_use(files, source):
    return (
        lambda: files.put("a", source),
        lambda: files.path("a"),
        lambda: files.open("a"),
        lambda: files.keys("a"),
        lambda: files.delete("a"),
        lambda: files.link("a", "a", "text/csv", MINUTE),
        lambda: files.check(),
    )


def assert_unavailable(files, source):
    for use in every_use(files, source):
        with pytest.raises(StorageUnavailable, match="PGD_FILES_URL") as caught:
            use()
        assert not isinstance(caught.value, PgdError)  # so that a worker tries again
    assert source.exists()


def test_a_server_that_is_down_is_told_and_loses_nothing(settings, source, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", f"http://127.0.0.1:{free_port()}")

    assert_unavailable(open_files(settings), source)


def test_a_bucket_that_does_not_exist_is_no_missing_file(settings, source):
    url = "s3://no-such-bucket-at-all"

    assert_unavailable(open_files(settings.model_copy(update={"files_url": url})), source)


def test_missing_credentials_are_told(settings, source, monkeypatch):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")

    assert_unavailable(open_files(settings), source)


def test_a_server_that_takes_connections_and_never_answers_is_given_up(settings, monkeypatch):
    limits = s3.CONFIG
    assert 0 < limits.connect_timeout <= 5
    assert 0 < limits.read_timeout <= 30
    monkeypatch.setattr(s3, "CONFIG", limits.merge(Config(read_timeout=0.1)))
    with socket.create_server(("127.0.0.1", 0)) as listener:  # the kernel takes the connections
        port = listener.getsockname()[1]
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", f"http://127.0.0.1:{port}")
        with pytest.raises(StorageUnavailable, match="timeout"):
            open_files(settings).check()


def test_parts_of_a_put_that_was_killed_are_forgotten_once_they_are_old(files, bucket):
    begun = {"Bucket": bucket, "Key": "pgd/a"}
    files._client.create_multipart_upload(**begun)

    files.forget_unfinished(timedelta(days=100 * 365))  # this server says that all began in 2010
    assert len(files._client.list_multipart_uploads(Bucket=bucket)["Uploads"]) == 1

    files.forget_unfinished(MINUTE)
    assert "Uploads" not in files._client.list_multipart_uploads(Bucket=bucket)
