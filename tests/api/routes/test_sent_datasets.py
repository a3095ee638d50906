"""Data sets that come as archives, from the upload to the report."""

from __future__ import annotations

import gzip
import io
import re
import shutil
import tarfile
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from pgd_core.settings import Settings
from tests.api.answers import problem_of
from tests.api.conftest import World
from tests.api.sent_datasets import (
    checked,
    coco_files,
    crowd_files,
    send,
    upload,
    zipped,
)
from tests.pgd_core.datasets.hostile_archives import CASES

HOSTILE = (
    *("zip: ..", "zip: .. inside", "zip: absolute", "zip: a backslash", "zip: NUL", "zip: case"),
    *("zip: a link", "zip: a device", "zip: a smaller size", "zip: two names", "zip: half"),
    *("zip: members that overlap", "tar: ..", "tar: a link", "tar: a hard link"),
    *("tar: through a link", "tar: a device", "tar: a pipe", "tar: a negative size"),
    *("tar: a path of pax that climbs", "tar.gz: half", "no archive"),
)


@pytest.fixture
def world(tmp_path, migrated):
    """With room for larger uploads, deep enough for a name that climbs."""
    data, roots = tmp_path / "a" / "b" / "data", tmp_path / "roots"
    for folder in (data, roots):
        folder.mkdir(parents=True)
    shutil.copy(migrated, data / "pgd.sqlite")
    settings = Settings(
        data_folder=data, dataset_roots=(roots,), max_upload_bytes=2**21, rate_limit_per_s=0
    )
    world = World(settings, roots)
    with world.http:
        yield world


def outside(tmp_path: Path, data: Path) -> dict[str, tuple[int, int]]:
    """Everything that lies beside the data folder, and what must not appear elsewhere."""
    paths = [path for path in tmp_path.rglob("*") if not path.is_relative_to(data)]
    canaries = [path for path in (Path("/tmp/canary"), Path("/canary")) if path.exists()]
    return {str(path): (path.lstat().st_mode, path.lstat().st_size) for path in paths + canaries}


def folders(world) -> list[str]:
    """Of data sets that were unpacked, whole or in part."""
    return sorted(
        path.name
        for path in (world.settings.data_folder / "datasets").glob("*")
        if path.name != ".lock"
    )


def test_an_archive_that_was_sent_becomes_a_data_set(world):
    dataset_id = send(world.http, zipped(coco_files()))

    waiting = world.http.get(f"/v1/datasets/{dataset_id}").json()
    dataset = checked(world, dataset_id)

    assert (waiting["state"], waiting["train_images"], waiting["version"]) == ("checking", "", 1)
    assert dataset["state"] == "ready", dataset["report"]
    folder = world.settings.data_folder / "datasets" / dataset_id
    assert dataset["train_annotations"] == str(folder / "train.json")
    assert (Path(dataset["val_images"]) / "11.png").read_bytes() == coco_files()["val/11.png"]
    assert dataset["classes"] == ["cat", "dog"]
    assert dataset["report"]["train"]["objects_per_class"] == {"cat": 3, "dog": 3}
    assert len(dataset["sha256"]) == 64
    assert folders(world) == [dataset_id]


def test_a_job_can_be_submitted_on_it(world):
    dataset_id = send(world.http, zipped(coco_files()))
    spec = {**world.train_spec(), "dataset": dataset_id}
    problem_of(world.http.post("/v1/jobs", json=spec), 409, "not_ready")

    checked(world, dataset_id)

    assert world.http.post("/v1/jobs", json=spec).status_code == 202


def test_a_tar_of_crowdhumans_is_found_by_its_own_layout(world):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, content in crowd_files().items():
            info = tarfile.TarInfo(f"CrowdHuman/{name}")
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))

    dataset = checked(world, send(world.http, gzip.compress(buffer.getvalue())))

    assert dataset["state"] == "ready", dataset["report"]
    assert dataset["classes"] == ["person"]
    assert dataset["train_annotations"].endswith("/CrowdHuman/annotation_train.odgt")


@pytest.mark.parametrize("case", HOSTILE)
@pytest.mark.filterwarnings("ignore:Duplicate name:UserWarning")
def test_a_hostile_archive_is_rejected_with_the_reason_and_writes_nowhere(world, case, tmp_path):
    CASES[case].write(tmp_path / "made")
    content = (tmp_path / "made").read_bytes()
    before = outside(tmp_path, world.settings.data_folder)

    dataset = checked(world, send(world.http, content))

    assert dataset["state"] == "rejected"
    (error,) = dataset["report"]["errors"]
    assert error["code"] == "source_refused"
    assert re.search(CASES[case].says, error["message"])
    assert folders(world) == []
    assert list((world.settings.data_folder / "checks").iterdir()) == []
    assert outside(tmp_path, world.settings.data_folder) == before


def test_a_bomb_is_refused_before_it_has_filled_the_disk(world):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for number in range(5):
            archive.writestr(f"train/{number}.png", bytes(2**26))

    dataset = checked(world, send(world.http, buffer.getvalue()))

    assert dataset["state"] == "rejected"
    assert "unpacks to over" in dataset["report"]["errors"][0]["message"]
    assert folders(world) == []


def test_an_upload_that_is_not_there_is_told_at_once(world):
    body = {"name": "sent", "source": {"upload": "none"}}

    problem = problem_of(world.http.post("/v1/datasets", json=body), 422, "invalid_spec")

    assert problem["errors"][0]["pointer"] == "/source/upload"


def test_another_teams_upload_is_not_there(world):
    upload_id = upload(world.of("submitter", "a"), b"bytes")
    body = {"name": "sent", "source": {"upload": upload_id}}

    answer = world.of("submitter", "b").post("/v1/datasets", json=body)

    problem_of(answer, 422, "invalid_spec")


@pytest.mark.parametrize(
    "body",
    [
        {"source": {}},
        {"source": {"upload": "1", "s3": "s3://bucket/x"}},
        {"source": {"upload": "1"}, "folder": "/x"},
        {"source": {"upload": "../1"}},
        {"source": {"s3": "s3://bucket/../x"}},
        {"source": {"s3": "https://bucket/x"}},
    ],
)
def test_a_source_is_one_of_its_forms(world, body):
    problem_of(world.http.post("/v1/datasets", json={"name": "x", **body}), 422, "invalid_request")


def test_an_upload_that_was_deleted_before_the_check_is_a_rejection(world):
    dataset_id = send(world.http, b"bytes")
    dataset = world.services.library.dataset(dataset_id)
    world.services.files.delete(f"uploads/{dataset.upload}")

    assert "upload it again" in checked(world, dataset_id)["report"]["errors"][0]["message"]


def in_s3(world, monkeypatch, *prefixes: str) -> None:
    """As if the server kept its files in S3 and allowed these prefixes."""
    values = {"files_url": "s3://files", "dataset_s3_prefixes": prefixes}
    settings = world.settings.model_copy(update=values)
    monkeypatch.setattr(world.app.state, "services", replace(world.services, settings=settings))


def test_a_prefix_is_registered_where_it_is_allowed_and_nowhere_else(world, monkeypatch):
    in_s3(world, monkeypatch, "s3://data/street")

    def add(url):
        return world.http.post("/v1/datasets", json={"name": "x", "source": {"s3": url}})

    added = add("s3://data/street/day/")
    assert added.status_code == 202, added.text
    assert (added.json()["s3"], added.json()["upload"]) == ("s3://data/street/day", None)
    problem_of(add("s3://data/street-2"), 403, "forbidden")
    problem_of(add("s3://files/uploads"), 403, "forbidden")


def test_without_files_in_s3_nothing_is_fetched(world):
    body = {"name": "x", "source": {"s3": "s3://data/street"}}

    problem = problem_of(world.http.post("/v1/datasets", json=body), 422, "invalid_spec")
    assert problem["errors"][0]["pointer"] == "/source/s3"
