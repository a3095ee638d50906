"""`pgd data` against a live server, with a reconciler's checks beside it."""

from __future__ import annotations

import json
import threading
import zipfile
from collections.abc import Iterator

import pytest
from PIL import Image
from structlog.testing import capture_logs

from tests.api.sent_datasets import checker, coco_files, zipped


@pytest.fixture
def checks(world) -> Iterator[None]:
    """Data sets are checked as they come."""
    stop = threading.Event()
    checking = checker(world)

    def again() -> None:
        while not stop.wait(0.05):
            checking.check_all()

    thread = threading.Thread(target=again)
    with capture_logs():  # they would go to the command's own output
        thread.start()
        yield
    stop.set()
    checking.stop()
    thread.join()


@pytest.fixture
def archive(tmp_path):
    path = tmp_path / "street.zip"
    path.write_bytes(zipped(coco_files()))
    return path


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "here"
    for name, content in coco_files().items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


@pytest.mark.usefixtures("checks")
def test_an_archive_is_sent_checked_shown_and_deleted(pgd, archive, tmp_path):
    added = json.loads(pgd("data", "add", "street", archive, "--json"))
    dataset_id = added["id"]

    assert (added["state"], added["name"], added["version"]) == ("ready", "street", 1)
    assert f"upload {added['upload']}" in pgd("data", "show", dataset_id)
    assert json.loads(pgd("data", "show", dataset_id, "--json"))["sha256"] == added["sha256"]
    assert "ready" in pgd("data", "report", dataset_id)
    assert json.loads(pgd("data", "report", dataset_id, "--json"))["usable"] is True
    assert dataset_id in pgd("data", "ls")
    assert json.loads(pgd("data", "ls", "--json"))["items"][0]["id"] == dataset_id

    sheet = json.loads(pgd("data", "contact-sheet", dataset_id, "--to", tmp_path, "--json"))
    with Image.open(sheet) as picture:
        assert picture.format == "JPEG"
    some = tmp_path / "some.zip"
    asked = ("--class", "dog", "--images", 1, "--val-images", 1, "--to", some)
    assert pgd("data", "subset", dataset_id, *asked).strip() == str(some)
    with zipfile.ZipFile(some) as subset:
        assert len(subset.namelist()) == 4
        assert json.loads(subset.read("train.json"))["categories"][0]["name"] == "dog"

    assert json.loads(pgd("data", "rm", dataset_id, "--json")) == {"deleted": dataset_id}
    assert "no data set" in pgd("data", "show", dataset_id, code=1)
    assert {path.name for path in tmp_path.iterdir()} >= {"some.zip"}
    assert not list(tmp_path.glob(".*.part"))


@pytest.mark.usefixtures("checks")
def test_a_local_folder_is_packed_and_sent(pgd, folder, archive):
    first = json.loads(pgd("data", "add", "street", archive, "--json"))
    second = json.loads(pgd("data", "add", "street", folder, "--upload", "--json"))

    assert (second["state"], second["version"]) == ("ready", 2)
    assert second["same_as"] == first["id"]


@pytest.mark.usefixtures("checks")
def test_a_rejected_archive_is_told_with_the_member_and_the_reason(pgd, tmp_path):
    (tmp_path / "bad.zip").write_bytes(zipped(coco_files() | {"../canary": b"x"}))

    said = pgd("data", "add", "street", tmp_path / "bad.zip", code=1)

    assert "source_refused" in said
    assert "'../canary' climbs" in said
    assert not (tmp_path / "canary").exists()


def test_what_is_not_here_is_not_sent(pgd, tmp_path):
    said = pgd("data", "add", "street", tmp_path / "none", "--upload", code=2)

    assert "is not on this machine" in " ".join(said.replace("│", " ").split())
    said = pgd("data", "add", "street", tmp_path / "none.zip", code=2)
    assert "there is no archive" in " ".join(said.replace("│", " ").split())


def test_a_prefix_of_s3_goes_by_its_address(pgd):
    assert "PGD_FILES_URL" in pgd("data", "add", "street", "s3://bucket/street", code=1)


def test_a_subset_that_cannot_be_had_is_told_and_leaves_no_file(world, pgd, tmp_path):
    said = pgd("data", "subset", world.dataset(), "--to", tmp_path / "x.zip", code=1)

    assert "Traceback" not in said
    assert not list(tmp_path.glob("*x.zip*"))


def test_a_data_set_that_a_job_needs_is_not_deleted(world, pgd):
    spec = world.train_spec()
    job_id = world.submitted(spec)

    assert job_id in pgd("data", "rm", spec["dataset"], code=1)
