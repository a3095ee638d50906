"""Registering folders of the server."""

from __future__ import annotations

import pytest

from tests.api.answers import problem_of


def add(world, **body):
    return world.http.post("/v1/datasets", json={"name": "digits", **body})


def test_a_folder_in_the_usual_layout_is_registered_and_checked_later(world):
    folder = world.folder()

    answer = add(world, folder=str(folder))

    assert answer.status_code == 202, answer.text
    dataset = answer.json()
    assert answer.headers["location"] == f"/v1/datasets/{dataset['id']}"
    assert dataset["state"] == "checking"
    assert dataset["train_annotations"] == str(folder / "train.json")
    assert dataset["val_images"] == str(folder / "val")
    assert world.http.get(answer.headers["location"]).json() == dataset


def test_the_report_of_the_check_is_shown(world):
    dataset = world.http.get(f"/v1/datasets/{world.dataset()}").json()

    assert (dataset["state"], dataset["report"]) == ("ready", {"errors": []})
    assert dataset["classes"] == ["cat", "dog"]


def test_the_four_paths_may_be_given_one_by_one(world):
    folder = world.folder()
    parts = {
        "train_annotations": str(folder / "val.json"),
        "train_images": str(folder / "val"),
        "val_annotations": str(folder / "train.json"),
        "val_images": str(folder / "train"),
    }

    answer = add(world, **parts)

    assert answer.status_code == 202
    assert {name: answer.json()[name] for name in parts} == parts


def test_missing_parts_are_all_named(world):
    folder = world.folder()
    (folder / "train.json").unlink()
    (folder / "val").rmdir()

    problem = problem_of(add(world, folder=str(folder)), 422, "invalid_spec")

    assert len(problem["errors"]) == 2
    assert "train.json is not a file" in problem["detail"]
    assert "val is not a folder" in problem["detail"]


def test_a_folder_of_crowdhumans_is_registered_by_its_own_names(world):
    folder = world.folder()
    for split in ("train", "val"):
        (folder / f"{split}.json").rename(folder / f"{split}.odgt")

    dataset = add(world, folder=str(folder)).json()

    assert dataset["train_annotations"] == str(folder / "train.odgt")
    assert dataset["val_annotations"] == str(folder / "val.odgt")
    assert dataset["val_images"] == str(folder / "val")


def test_an_odgt_link_that_leads_out_is_forbidden(world, tmp_path):
    folder = world.folder()
    (folder / "train.json").unlink()
    (tmp_path / "secret.odgt").write_text("{}")
    (folder / "train.odgt").symlink_to(tmp_path / "secret.odgt")

    problem_of(add(world, folder=str(folder)), 403, "forbidden")


@pytest.mark.parametrize("body", [{}, {"train_images": "/x"}, {"folder": "/x", "val_images": "/x"}])
def test_a_data_set_is_a_folder_or_four_paths(world, body):
    problem_of(add(world, **body), 422, "invalid_request")


@pytest.mark.parametrize("folder", ["/etc", "/", "{roots}/..", "{roots}/../data", "{roots}2"])
def test_a_folder_outside_the_roots_is_forbidden(world, folder):
    problem_of(add(world, folder=folder.format(roots=world.roots)), 403, "forbidden")


def test_what_lies_outside_is_forbidden_whether_it_exists_or_not(world):
    exists = add(world, folder="/etc")
    nothing = add(world, folder="/surely-not-there")

    assert exists.status_code == nothing.status_code == 403


def test_a_link_that_leads_out_is_forbidden(world, tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    (world.roots / "link").symlink_to(outside)
    folder = world.folder()
    (folder / "train.json").unlink()
    (outside / "secret.json").write_text("{}")
    (folder / "train.json").symlink_to(outside / "secret.json")

    problem_of(add(world, folder=str(world.roots / "link")), 403, "forbidden")
    problem_of(add(world, folder=str(folder)), 403, "forbidden")


def test_a_link_inside_the_roots_is_followed(world):
    folder = world.folder()
    (world.roots / "link").symlink_to(folder)

    answer = add(world, folder=str(world.roots / "link"))

    assert answer.json()["train_images"] == str(folder / "train")


def test_a_loop_of_links_is_refused(world):
    (world.roots / "a").symlink_to(world.roots / "b")
    (world.roots / "b").symlink_to(world.roots / "a")

    problem = problem_of(add(world, folder=str(world.roots / "a")), 422, "invalid_spec")
    assert problem["errors"][0]["pointer"] == "/folder"


@pytest.mark.parametrize(
    "folder", ["digits", "./digits", "{roots}/a\x00b", "", "{roots}/" + "x" * 300]
)
def test_a_path_that_cannot_be_one_is_refused(world, folder):
    answer = add(world, folder=folder.format(roots=world.roots))

    assert answer.status_code == 422
    assert answer.json()["errors"][0]["pointer"] == "/folder"


@pytest.mark.parametrize("name", ["", "x" * 201, "a\nb", 7, None])
def test_a_name_must_be_one(world, name):
    problem = problem_of(
        world.http.post("/v1/datasets", json={"name": name, "folder": "/x"}),
        422,
        "invalid_request",
    )
    assert problem["errors"][0]["pointer"] == "/name"


def test_pages_hold_every_data_set_once_newest_first(world):
    ids = [world.dataset() for _ in range(3)]

    first = world.http.get("/v1/datasets?limit=2").json()
    second = world.http.get(f"/v1/datasets?limit=2&after={first['next_after']}").json()

    assert [item["id"] for item in first["items"] + second["items"]] == ids[::-1]
    assert (first["has_more"], second["has_more"]) == (True, False)


def test_a_data_set_that_does_not_exist_is_not_found(world):
    problem_of(world.http.get("/v1/datasets/none"), 404, "not_found")
