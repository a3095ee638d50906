"""The contact sheet of a data set, and a part of it as a zip."""

from __future__ import annotations

import hashlib
import io
import json
import socket
import sys
import zipfile
from pathlib import Path

import httpx
import psutil
import pytest
from PIL import Image

from api import subsets
from tests.api.answers import problem_of
from tests.api.sent_datasets import checked, coco_files, crowd_files, send, zipped
from tests.worker.conftest import wait_for


@pytest.fixture
def ready(world):
    """The id of a data set that was sent and checked."""
    dataset_id = send(world.http, zipped(coco_files()))
    assert checked(world, dataset_id)["state"] == "ready"
    return dataset_id


def subset(world, dataset_id, **query) -> zipfile.ZipFile:
    answer = world.http.get(f"/v1/datasets/{dataset_id}/subset", params=query)
    assert answer.status_code == 200, answer.text
    return zipfile.ZipFile(io.BytesIO(answer.content))


def rows(archive, split="train"):
    return json.loads(archive.read(f"{split}.json"))


def test_the_contact_sheet_is_a_picture_with_its_digest(world, ready):
    answer = world.http.get(f"/v1/datasets/{ready}/contact-sheet")

    assert answer.status_code == 200
    assert answer.headers["content-type"] == "image/jpeg"
    assert answer.headers["etag"] == f'"{hashlib.sha256(answer.content).hexdigest()}"'
    assert answer.headers["x-content-type-options"] == "nosniff"
    with Image.open(io.BytesIO(answer.content)) as sheet:
        assert sheet.width > 1000


def test_who_has_the_contact_sheet_is_not_sent_it_again(world, ready):
    url = f"/v1/datasets/{ready}/contact-sheet"
    etag = world.http.get(url).headers["etag"]

    answer = world.http.get(url, headers={"If-None-Match": etag})

    assert (answer.status_code, answer.content) == (304, b"")
    assert world.http.get(url, headers={"If-None-Match": '"other"'}).status_code == 200
    assert world.http.head(url).headers["etag"] == etag
    assert world.http.get(url, headers={"Range": "bytes=0-9"}).status_code == 206


def test_before_the_check_there_is_neither(world):
    dataset_id = send(world.http, b"bytes")

    for name in ("contact-sheet", "subset"):
        problem_of(world.http.get(f"/v1/datasets/{dataset_id}/{name}"), 409, "not_ready")


def test_a_report_cannot_name_another_file_as_its_contact_sheet(world):
    dataset_id = world.dataset(ready=False)
    other = world.succeeded({"student.safetensors": b"weights"})
    (artifact,) = world.services.jobs.artifacts(other)
    named = {"key": artifact.key, "size": 7, "sha256": artifact.sha256}
    world.services.library.dataset_checked(
        dataset_id, usable=True, report={"contact_sheet": named}, sha256="", classes=()
    )

    problem_of(world.http.get(f"/v1/datasets/{dataset_id}/contact-sheet"), 404, "not_found")


def test_a_subset_can_be_sent_back_as_a_data_set(world, ready):
    answer = world.http.get(f"/v1/datasets/{ready}/subset", params={"images": 2, "seed": 3})

    assert answer.headers["content-type"] == "application/zip"
    assert answer.headers["content-disposition"] == f'attachment; filename="subset-{ready}.zip"'
    again = checked(world, send(world.http, answer.content))
    assert again["state"] == "ready", again["report"]
    assert (again["report"]["train"]["images"], again["report"]["val"]["images"]) == (2, 2)


def test_all_of_it_holds_every_picture_as_it_is(world, ready):
    archive = subset(world, ready)

    assert archive.testzip() is None
    names = {*archive.namelist()}
    assert names == {*coco_files()}
    assert archive.read("train/2.png") == coco_files()["train/2.png"]
    assert [c["name"] for c in rows(archive)["categories"]] == ["cat", "dog"]


def test_classes_come_in_the_order_that_is_asked_for(world, ready):
    archive = subset(world, ready, classes="dog")
    both = subset(world, ready, classes="dog, cat")

    assert rows(archive)["categories"] == [{"id": 1, "name": "dog"}]
    assert len(rows(archive)["annotations"]) == 3
    assert [c["name"] for c in rows(both, "val")["categories"]] == ["dog", "cat"]


def test_the_same_question_has_the_same_bytes_and_another_seed_other_pictures(world, ready):
    url = f"/v1/datasets/{ready}/subset"
    one = {"images": 1, "val_images": 1}
    answers = [world.http.get(url, params={**one, "seed": seed}).content for seed in (1, 1)]

    assert answers[0] == answers[1]
    chosen = {rows(subset(world, ready, **one, seed=s))["images"][0]["file_name"] for s in range(5)}
    assert len(chosen) > 1


def test_a_subset_of_crowdhumans_comes_in_cocos_layout(world):
    dataset_id = send(world.http, zipped(crowd_files()))
    checked(world, dataset_id)

    archive = subset(world, dataset_id, images=1)

    assert rows(archive)["categories"] == [{"id": 1, "name": "person"}]
    assert rows(archive)["annotations"][0]["bbox"] == [1, 2, 10, 20]


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ({"classes": "bird"}, "invalid_spec"),
        ({"classes": "cat,cat"}, "invalid_spec"),
        ({"images": 0}, "invalid_request"),
        ({"seed": -1}, "invalid_request"),
        ({"colour": "red"}, "invalid_request"),
    ],
)
def test_what_cannot_be_had_is_told_before_anything_is_sent(world, ready, query, code):
    answer = world.http.get(f"/v1/datasets/{ready}/subset", params=query)

    problem = problem_of(answer, 422, code)
    if query == {"classes": "bird"}:
        assert "the data set has cat, dog" in problem["detail"]


def test_a_picture_that_became_a_link_out_breaks_the_zip_off(world, ready, url, tmp_path):
    secret = tmp_path / "secret"
    secret.write_bytes(b"secret" * 1000)
    picture = Path(world.http.get(f"/v1/datasets/{ready}").json()["val_images"]) / "12.png"
    picture.unlink()
    picture.symlink_to(secret)
    headers = {"Authorization": f"Bearer {world.secret}"}
    pieces: list[bytes] = []

    def take_all() -> None:
        address = f"{url}/v1/datasets/{ready}/subset"
        with httpx.stream("GET", address, headers=headers, trust_env=False) as answer:
            pieces.extend(answer.iter_raw())

    with pytest.raises(httpx.RemoteProtocolError):
        take_all()

    assert b"secret" not in b"".join(pieces)
    assert subsets._free.acquire(blocking=False)
    subsets._free.release()


def test_a_caller_that_goes_away_ends_the_process(world, ready, url, monkeypatch, tmp_path):
    endless = (
        f"import os, pathlib; pathlib.Path({str(tmp_path / 'pid')!r}).write_text(str(os.getpid()))"
    )
    endless += "\nwhile True: os.write(1, bytes(65536))"
    monkeypatch.setattr(subsets, "COMMAND", (sys.executable, "-c", endless))
    address, headers = f"{url}/v1/datasets/{ready}/subset", world.http.headers

    with httpx.stream(
        "GET", address, headers={"Authorization": headers["authorization"]}, trust_env=False
    ) as answer:
        assert len(next(answer.iter_raw())) > 0

    wait_for(lambda: not psutil.pid_exists(int((tmp_path / "pid").read_text())))
    wait_for(lambda: subsets._free._value == subsets.MAX_AT_ONCE)


def test_a_caller_that_takes_nothing_gives_its_place_to_others(world, ready, url, monkeypatch):
    endless = "import os\nwhile True: os.write(1, bytes(65536))"
    monkeypatch.setattr(subsets, "COMMAND", (sys.executable, "-c", endless))
    monkeypatch.setattr(subsets, "STALLED_S", 0.2)
    host, port = url.removeprefix("http://").split(":")

    with socket.create_connection((host, int(port))) as caller:
        caller.sendall(
            f"GET /v1/datasets/{ready}/subset HTTP/1.1\r\nHost: x\r\n"
            f"Authorization: Bearer {world.secret}\r\n\r\n".encode()
        )
        wait_for(lambda: subsets._free._value < subsets.MAX_AT_ONCE)
        wait_for(lambda: subsets._free._value == subsets.MAX_AT_ONCE)


def test_more_subsets_at_once_than_may_be_are_refused(world, ready):
    for _ in range(subsets.MAX_AT_ONCE):
        assert subsets._free.acquire(blocking=False)
    try:
        answer = world.http.get(f"/v1/datasets/{ready}/subset")
    finally:
        for _ in range(subsets.MAX_AT_ONCE):
            subsets._free.release()

    problem_of(answer, 503, "not_serving")
    assert world.http.get(f"/v1/datasets/{ready}/subset").status_code == 200


def test_a_process_that_dies_is_told_and_frees_its_place(world, ready):
    dies = (sys.executable, "-c", "import sys; sys.exit('MemoryError')")
    dataset = world.services.library.dataset(ready)
    for _ in range(subsets.MAX_AT_ONCE + 1):
        with pytest.raises(subsets.BadRequest, match="MemoryError"):
            subsets.send_subset(dataset, subsets.Subset(), dies)


def test_nothing_is_left_on_the_disk(world, ready):
    data = world.settings.data_folder
    before = {path for path in data.rglob("*") if "sqlite" not in path.name}

    subset(world, ready)

    assert {path for path in data.rglob("*") if "sqlite" not in path.name} == before
