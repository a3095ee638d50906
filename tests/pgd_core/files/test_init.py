"""Which store a setting names."""

from __future__ import annotations

import importlib.util

import pytest

from pgd_core.files import LocalFileStore, open_files
from pgd_core.settings import Settings


def opened(tmp_path, url):
    return open_files(Settings(data_folder=tmp_path / "data", files_url=url))


def put(files, tmp_path):
    (tmp_path / "source").write_bytes(b"x")
    files.put("a", tmp_path / "source")
    return files


def test_files_lie_in_the_data_folder_unless_said_otherwise(tmp_path):
    put(opened(tmp_path, ""), tmp_path)

    assert (tmp_path / "data" / "files" / "a").read_bytes() == b"x"


@pytest.mark.parametrize("scheme", ["", "file://", "file://localhost"])
def test_a_shared_folder_is_named_by_its_path(tmp_path, scheme):
    shared = tmp_path / "shared folder"
    shared.mkdir()
    url = f"{scheme}{str(shared).replace(' ', '%20') if scheme else shared}"

    put(opened(tmp_path, url), tmp_path)

    assert (shared / "a").read_bytes() == b"x"


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("files", "name a folder"),
        ("./files", "name a folder"),
        ("file://host/files", "name a folder"),
        ("file:files", "name a folder"),
        ("http://bucket/prefix", "name a folder"),
        ("S3://bucket", "name a folder"),
        ("/no/such/folder", "create it, or mount the share"),
        ("s3://", "is no bucket's name"),
        ("s3:///prefix", "is no bucket's name"),
        ("s3://My_Bucket/prefix", "is no bucket's name"),
        ("s3://bucket/../prefix", "the prefix"),
        ("s3://bucket/a//b", "the prefix"),
        ("s3://bucket/a?region=x", "the prefix"),
    ],
)
def test_a_value_that_names_no_store_is_refused_with_the_way_out(tmp_path, url, why):
    with pytest.raises(ValueError, match=why) as caught:
        opened(tmp_path, url)

    assert "PGD_FILES_URL" in str(caught.value)
    assert repr(url) in str(caught.value)


def test_a_bucket_without_boto3_says_what_to_install(tmp_path, monkeypatch):
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "boto3" else find_spec(name)
    )

    with pytest.raises(ValueError, match=r"pip install 'pgd\[s3\]'"):
        opened(tmp_path, "s3://bucket")
    assert isinstance(opened(tmp_path, ""), LocalFileStore)


def test_a_bucket_that_is_away_does_not_keep_the_service_from_starting(tmp_path, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://127.0.0.1:1")

    opened(tmp_path, "s3://bucket/prefix/")
