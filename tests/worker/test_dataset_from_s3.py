"""Data sets that are fetched from a prefix of a bucket."""

from __future__ import annotations

import boto3
import pytest

from pgd_core.datasets import s3_source
from pgd_core.datasets.archive_members import ArchiveLimits
from pgd_core.errors import DatasetUnusable
from pgd_core.files.s3_prefix import S3Prefix
from tests.api.sent_datasets import coco_files
from tests.servers import free_port
from worker.checks import Checker


@pytest.fixture
def bucket(s3_server, monkeypatch):
    return s3_server.bucket(monkeypatch)


def put(bucket, prefix, files):
    client = boto3.session.Session().client("s3")
    for name, content in files.items():
        client.put_object(Bucket=bucket, Key=f"{prefix}{name}", Body=content)
    client.close()


def checked(world, url):
    dataset = world.library.add_dataset("of a bucket", s3=url)
    Checker(world.library, world.files, world.folder / "checks").check_all()
    return world.library.dataset(dataset.id)


def left(world):
    return [p.name for p in (world.folder / "datasets").glob("*") if p.name != ".lock"]


def test_what_lies_below_the_prefix_becomes_the_data_set(world, bucket):
    put(bucket, "street/day/", coco_files())
    put(bucket, "street/day/", {"train/": b"", "": b""})  # folders, as consoles make them
    put(bucket, "street/day-2/", {"train.json": b"of another"})

    dataset = checked(world, f"s3://{bucket}/street/day")

    assert dataset.state == "ready", dataset.report
    folder = world.folder / "datasets" / dataset.id
    assert dataset.train_annotations == str(folder / "train.json")
    found = {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}
    assert found == coco_files()
    assert left(world) == [dataset.id]


@pytest.mark.parametrize("name", ["../canary", "train/../../canary", "/canary", "a\\b", "Train/1"])
def test_a_name_that_is_no_safe_path_rejects_all_of_it(world, bucket, name, tmp_path):
    put(bucket, "street/", coco_files() | {name: b"x"})

    dataset = checked(world, f"s3://{bucket}/street")

    assert dataset.state == "rejected"
    assert "member" in dataset.report["errors"][0]["message"]
    assert left(world) == []
    assert not list(tmp_path.rglob("*canary*"))


@pytest.mark.parametrize("place", ["{bucket}/nothing", "no-such-bucket/street"])
def test_a_prefix_with_nothing_and_a_bucket_that_is_none_are_rejected(world, bucket, place):
    dataset = checked(world, f"s3://{place.format(bucket=bucket)}")

    assert dataset.state == "rejected"
    assert dataset.report["errors"][0]["code"] == "source_refused"
    assert left(world) == []


def test_a_bucket_that_is_away_is_asked_again(world, bucket, monkeypatch):
    put(bucket, "street/", coco_files())
    there = boto3.session.Session().client("s3").meta.endpoint_url
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", f"http://127.0.0.1:{free_port()}")
    dataset = checked(world, f"s3://{bucket}/street")

    assert (dataset.state, left(world)) == ("checking", [])
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", there)
    Checker(world.library, world.files, world.folder / "checks").check_all()
    assert world.library.dataset(dataset.id).state == "ready"


@pytest.mark.parametrize(
    ("limits", "says"),
    [
        (ArchiveLimits(members=3), "over 3 objects"),
        (ArchiveLimits(file_bytes=100), "over 100 bytes"),
        (ArchiveLimits(total_bytes=10_000), "over 10000 in all"),
        (ArchiveLimits(room_bytes=9_000), "over 9000 in all"),
    ],
)
def test_too_much_is_refused_before_anything_is_fetched(bucket, tmp_path, limits, says):
    put(bucket, "street/", coco_files())
    source = S3Prefix(bucket, "street")

    def none(_):
        raise AssertionError("fetched")

    with pytest.raises(DatasetUnusable, match=says):
        s3_source.fetch(source.objects(), none, tmp_path / "out", limits, lambda: None)
    assert list(tmp_path.iterdir()) == []


def test_an_object_that_changes_meanwhile_is_refused(bucket, tmp_path):
    put(bucket, "street/", coco_files())
    source = S3Prefix(bucket, "street")
    listed = list(source.objects())
    put(bucket, "street/", {"train.json": b"another"})

    with pytest.raises(FileNotFoundError, match="cannot be read"):
        s3_source.fetch(listed, source.chunks, tmp_path / "out", ArchiveLimits(), lambda: None)
    assert list(tmp_path.iterdir()) == []


def test_fetching_stops_with_the_process(bucket, tmp_path):
    put(bucket, "street/", coco_files())
    source = S3Prefix(bucket, "street")

    def stop():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        s3_source.fetch(source.objects(), source.chunks, tmp_path / "out", ArchiveLimits(), stop)
    assert list(tmp_path.iterdir()) == []
