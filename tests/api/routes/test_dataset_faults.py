"""Every fault of COCO JSON, one by one: from the archive that is sent to the report."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.api.answers import problem_of
from tests.api.sent_datasets import (
    checked,
    coco_files,
    crowd_files,
    picture,
    send,
    zipped,
)

Change = Callable[[dict[str, Any]], object]


def _row(**fields: Any) -> Change:
    """The first annotation with other fields."""
    return lambda content: content["annotations"][0].update(fields)


def _image(**fields: Any) -> Change:
    return lambda content: content["images"][0].update(fields)


# By what is wrong: how the training annotations are spoiled, the code, and where it is said to be.
FAULTS: dict[str, tuple[Change, str, str]] = {
    "an annotation's id twice": (_row(id=2), "duplicate_id", "/annotations/1/id"),
    "an image's id twice": (_image(id=2), "duplicate_id", "/images/1/id"),
    "a class's id twice": (
        lambda content: content.update(categories=[{"id": 1, "name": name} for name in "ab"]),
        "duplicate_id",
        "/categories/1/id",
    ),
    "no such image": (_row(image_id=99), "dangling_image", "/annotations/0/image_id"),
    "no such class": (_row(category_id=9), "dangling_class", "/annotations/0/category_id"),
    "a width of 0": (_row(bbox=[1, 2, 0, 5]), "bad_box", "/annotations/0/bbox"),
    "a negative height": (_row(bbox=[1, 2, 5, -5]), "bad_box", "/annotations/0/bbox"),
    "an endless box": (_row(bbox=[1, 2, 1e999, 5]), "not_json", ""),
    "three sides": (_row(bbox=[1, 2, 3]), "bad_box", "/annotations/0/bbox"),
    "a box outside": (_row(bbox=[70, 2, 5, 5]), "box_outside", "/annotations/0/bbox"),
    "iscrowd of 2": (_row(iscrowd=2), "bad_iscrowd", "/annotations/0/iscrowd"),
    "no such picture": (_image(file_name="no.png"), "picture_missing", "/images/0/file_name"),
    "a picture outside": (
        _image(file_name="../../../../etc/passwd"),
        "unsafe_file_name",
        "/images/0/file_name",
    ),
    "another size": (_image(width=61), "picture_size_differs", "/images/0/width"),
    "no images": (lambda content: content.update(images=[]), "no_images", "/images"),
    "no objects": (lambda content: content.update(annotations=[]), "no_objects", "/annotations"),
    "a list in its place": (lambda content: content.update(images={}), "wrong_shape", "/images"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_reported_with_its_place(world, fault):
    change, code, pointer = FAULTS[fault]

    dataset = checked(world, send(world.http, zipped(coco_files(change))))

    assert dataset["state"] == "rejected"
    found = {error["code"]: error for error in dataset["report"]["errors"]}
    assert code in found
    assert found[code]["pointer"] == f"train:{pointer}"
    assert found[code]["message"]


def test_all_faults_are_reported_and_not_the_first(world):
    def spoil(content):
        _row(iscrowd=2)(content)
        content["annotations"][1].update(image_id=99)
        content["annotations"][2].update(bbox=[0, 0, -1, 5])

    dataset = checked(world, send(world.http, zipped(coco_files(spoil))))

    codes = {error["code"] for error in dataset["report"]["errors"]}
    assert {"bad_iscrowd", "dangling_image", "bad_box"} <= codes


def test_a_picture_that_does_not_decode_is_reported(world):
    files = coco_files() | {"train/2.png": picture(2)[:500]}

    dataset = checked(world, send(world.http, zipped(files)))

    (error,) = dataset["report"]["errors"]
    assert (error["code"], error["pointer"]) == ("picture_unreadable", "train:/images/1/file_name")


def test_a_picture_without_objects_is_a_warning(world):
    def empty(content):
        content["annotations"] = content["annotations"][2:]

    dataset = checked(world, send(world.http, zipped(coco_files(empty))))

    assert dataset["state"] == "ready"
    (warning,) = dataset["report"]["warnings"]
    assert warning["code"] == "image_without_objects"
    assert dataset["report"]["train"]["images_without_objects"] == 1


def test_a_picture_of_both_splits_is_found_by_its_content(world):
    files = coco_files()
    files["val/11.png"] = files["train/1.png"]

    report = checked(world, send(world.http, zipped(files)))["report"]

    assert [warning["code"] for warning in report["warnings"]] == ["splits_overlap"]
    assert report["shared_examples"] == [{"train": "1.png", "val": "11.png"}]
    files["val/12.png"] = files["train/2.png"]
    assert (
        checked(world, send(world.http, zipped(files)))["report"]["errors"][0]["code"]
        == "validation_is_training"
    )


def test_classes_that_are_not_the_teachers_are_told_when_a_job_is_submitted(world):
    dataset_id = send(world.http, zipped(coco_files()))
    checked(world, dataset_id)
    spec = {**world.distill_spec(), "dataset": dataset_id}

    assert world.http.post("/v1/jobs", json=spec).status_code == 202
    spec["teacher"] = world.teacher(classes=("dog", "cat"))
    problem = problem_of(world.http.post("/v1/jobs", json=spec), 422, "invalid_spec")
    assert problem["errors"][0]["pointer"] == "/teacher"


def test_a_fault_of_crowdhumans_is_reported_with_its_line(world):
    files = crowd_files()
    files["annotation_train.odgt"] = files["annotation_train.odgt"].replace(
        json.dumps([1, 2, 10, 20]).encode(), b'[1, 2, "ten", 20]', 1
    )

    dataset = checked(world, send(world.http, zipped(files)))

    assert dataset["state"] == "rejected"
    (error,) = dataset["report"]["errors"]
    assert error["pointer"].startswith("train:/0/gtboxes/0")
    assert not Path(dataset["train_images"]).exists()
