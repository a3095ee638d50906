"""Deleting data sets; versions and equal content as the API shows them."""

from __future__ import annotations

import shutil

from pgd_core.jobs.job import Reason
from tests.api.answers import problem_of
from tests.api.registered import model_of
from tests.api.sent_datasets import checked, coco_files, send, zipped


def folder_of(world, dataset_id):
    return world.settings.data_folder / "datasets" / dataset_id


def test_what_was_sent_is_deleted_with_its_pictures(world):
    dataset_id = send(world.http, zipped(coco_files()))
    checked(world, dataset_id)
    assert (folder_of(world, dataset_id) / "train.json").is_file()

    answer = world.http.delete(f"/v1/datasets/{dataset_id}")

    assert (answer.status_code, answer.content) == (204, b"")
    problem_of(world.http.get(f"/v1/datasets/{dataset_id}"), 404, "not_found")
    problem_of(world.http.delete(f"/v1/datasets/{dataset_id}"), 404, "not_found")
    assert not folder_of(world, dataset_id).exists()
    assert world.services.files.keys(f"datasets/{dataset_id}") == []
    event = world.http.get("/v1/audit").json()["items"][0]
    assert event["action"] == "delete_dataset"
    assert event["details"] == {"name": "sent", "version": 1}


def test_a_folder_of_the_servers_own_is_left_alone(world):
    folder = world.folder()
    body = {"name": "digits", "folder": str(folder)}
    dataset_id = world.http.post("/v1/datasets", json=body).json()["id"]

    assert world.http.delete(f"/v1/datasets/{dataset_id}").status_code == 204

    assert (folder / "train.json").is_file()


def test_it_stays_while_a_job_needs_it(world):
    spec = world.train_spec()
    job_id = world.submitted(spec)
    url = f"/v1/datasets/{spec['dataset']}"

    problem = problem_of(world.http.delete(url), 409, "conflict")

    assert job_id in problem["detail"]
    assert world.http.get(url).json()["state"] == "ready"
    world.http.post(f"/v1/jobs/{job_id}:cancel")
    assert world.http.delete(url).status_code == 204


def test_a_viewer_deletes_nothing_and_another_team_finds_nothing(world):
    dataset_id = world.dataset(team=world.team("a"))

    problem_of(world.of("viewer", "a").delete(f"/v1/datasets/{dataset_id}"), 403, "forbidden")
    problem_of(world.of("admin", "b").delete(f"/v1/datasets/{dataset_id}"), 404, "not_found")
    assert world.of("submitter", "a").delete(f"/v1/datasets/{dataset_id}").status_code == 204


def test_one_that_is_deleted_while_it_is_unpacked_leaves_nothing(world, monkeypatch):
    dataset_id = send(world.http, zipped(coco_files()))
    library = world.services.library
    told = library.dataset_unpacked

    def deleted_first(*arguments):
        assert world.http.delete(f"/v1/datasets/{dataset_id}").status_code == 204
        return told(*arguments)

    monkeypatch.setattr(library, "dataset_unpacked", deleted_first)

    checked(world, dataset_id)

    assert not folder_of(world, dataset_id).exists()


def test_one_that_is_deleted_while_it_is_checked_leaves_nothing(world, monkeypatch):
    dataset_id = send(world.http, zipped(coco_files()))
    library = world.services.library
    told = library.dataset_checked

    def deleted_first(*arguments, **report):
        assert world.http.delete(f"/v1/datasets/{dataset_id}").status_code == 204
        return told(*arguments, **report)

    monkeypatch.setattr(library, "dataset_checked", deleted_first)

    checked(world, dataset_id)

    assert world.services.files.keys(f"datasets/{dataset_id}") == []
    assert [p.name for p in folder_of(world, dataset_id).parent.iterdir()] == [".lock"]


def test_a_deletion_that_breaks_off_leaves_a_folder_of_no_data_sets(world, monkeypatch):
    dataset_id = send(world.http, zipped(coco_files()))
    checked(world, dataset_id)
    monkeypatch.setattr(shutil, "rmtree", lambda *_, **__: None)

    assert world.http.delete(f"/v1/datasets/{dataset_id}").status_code == 204

    names = {path.name for path in folder_of(world, dataset_id).parent.iterdir()}
    assert names == {".lock", f".{dataset_id}.deleted"}


def test_the_same_content_again_says_so_and_is_the_next_version(world):
    first, second = (send(world.http, zipped(coco_files()), "street") for _ in range(2))
    other = send(world.http, zipped(coco_files(lambda rows: rows["annotations"].pop())), "street")
    checked(world, first)

    shown = {item["id"]: item for item in world.http.get("/v1/datasets").json()["items"]}

    assert [shown[each]["version"] for each in (first, second, other)] == [1, 2, 3]
    assert [shown[each]["same_as"] for each in (first, second, other)] == [None, first, None]
    assert shown[first]["sha256"] == shown[second]["sha256"] != shown[other]["sha256"]


def test_what_was_trained_on_it_is_still_exported_and_registered(world):
    model = model_of(world)
    other, strange = world.dataset(), world.dataset(classes=("bird",))
    assert world.http.delete(f"/v1/datasets/{model['dataset_id']}").status_code == 204

    def export(**body):
        return world.http.post(f"/v1/models/{model['id']}:export", json=body)

    assert export(dataset=other).status_code == 202
    problem = problem_of(export(dataset=strange), 422, "invalid_spec")
    assert "knows 2 classes ('cat', 'dog')" in problem["detail"]
    (error,) = problem_of(export(), 422, "invalid_spec")["errors"]
    assert (error["pointer"], model["dataset_id"] in error["detail"]) == ("/dataset", True)
    asked = {"name": "big", "source": {"job": model["job_id"]}}
    teacher = world.http.post("/v1/teachers", json=asked)
    assert (teacher.status_code, teacher.json()["classes"]) == (202, ["cat", "dog"])


def test_a_job_that_failed_is_not_tried_again_without_it(world):
    job, claim = world.running()
    world.services.jobs.finish(claim, Reason.DIVERGED)
    url = f"/v1/datasets/{job.spec['dataset']}"
    assert world.http.delete(url).status_code == 204

    problem = problem_of(world.http.post(f"/v1/jobs/{job.id}:retry"), 409, "illegal_move")

    assert "data set 'digits' version 1" in problem["detail"]
    assert world.http.get(f"/v1/jobs/{job.id}").json()["state"] == "failed"
