from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest

from pgd_core.datasets.annotations import Split, check_annotations
from pgd_core.datasets.report import Code, Findings

GOOD: dict[str, Any] = {
    "categories": [{"id": 5, "name": "dog"}, {"id": 2, "name": "cat"}],
    "images": [
        {"id": 10, "file_name": "a.png", "width": 200, "height": 100},
        {"id": 11, "file_name": "b.png", "width": 200, "height": 100},
    ],
    "annotations": [
        {"id": 1, "image_id": 10, "category_id": 2, "bbox": [0, 0, 20, 20], "area": 400},
        {"id": 2, "image_id": 11, "category_id": 5, "bbox": [5.5, 0, 60, 60], "area": 3600},
        {
            "id": 3,
            "image_id": 11,
            "category_id": 5,
            "bbox": [0, 0, 200, 100],
            "area": 20000,
            "iscrowd": 1,
        },
    ],
}


def _check(content: object) -> tuple[Split, Findings]:
    findings = Findings()
    return check_annotations("train", content, findings), findings


def _faults(change: Callable[[dict[str, Any]], object]) -> dict[Code, tuple[int, str, str]]:
    """(count, pointer, message) by code after one change to good annotations."""
    content = copy.deepcopy(GOOD)
    change(content)
    _, findings = _check(content)
    found = (*findings.errors(), *findings.warnings())
    return {each.code: (each.count, each.pointer, each.message) for each in found}


def test_good_annotations_have_no_findings_and_are_counted() -> None:
    split, findings = _check(GOOD)
    assert not findings.errors()
    assert not findings.warnings()
    assert split.class_names() == ("cat", "dog")
    report = split.report().model_dump()
    histograms = [report.pop(name) for name in ("objects_per_image", "box_sides")]
    assert report == {
        "images": 2,
        "annotations": 3,
        "crowd": 1,
        "images_without_objects": 0,
        "objects_per_class": {"cat": 1, "dog": 1},
        "sizes": {"small": 1, "medium": 1, "large": 0},
        "median_long_side": 200,
        "median_short_side": 100,
    }
    assert [sum(each["counts"]) for each in histograms] == [2, 2]
    assert histograms[0]["counts"][1] == 2  # each image has one object


@pytest.mark.parametrize("content", [None, [], "x", 3, True])
def test_a_file_that_is_no_object_is_reported(content: object) -> None:
    _, findings = _check(content)
    assert [each.code for each in findings.errors()] == [Code.WRONG_SHAPE]


@pytest.mark.parametrize("key", ["images", "annotations", "categories"])
@pytest.mark.parametrize("value", [None, {}, "x", 3])
def test_a_list_that_is_none_is_reported(key: str, value: object) -> None:
    faults = _faults(lambda c: c.update({key: value}))
    assert faults[Code.WRONG_SHAPE][1] == f"train:/{key}"
    faults = _faults(lambda c: c.pop(key))
    assert "missing" in faults[Code.WRONG_SHAPE][2]


@pytest.mark.parametrize("row", [None, [], "x", 3])
def test_a_row_that_is_no_object_is_reported(row: object) -> None:
    faults = _faults(lambda c: c["annotations"].append(row))
    assert faults[Code.WRONG_SHAPE][1] == "train:/annotations/3"


@pytest.mark.parametrize("value", [True, 1.0, "1", None, [], 2**63, -(2**63) - 1, 10**400])
@pytest.mark.parametrize(
    ("rows", "key"),
    [
        ("images", "id"),
        ("categories", "id"),
        ("annotations", "id"),
        ("annotations", "image_id"),
        ("annotations", "category_id"),
    ],
)
def test_an_id_that_is_no_whole_number_is_reported(rows: str, key: str, value: object) -> None:
    faults = _faults(lambda c: c[rows][0].update({key: value}))
    assert faults[Code.WRONG_FIELD][:2] == (1, f"train:/{rows}/0/{key}")


@pytest.mark.parametrize("value", [True, 0, -1, 200.0, "200", None])
@pytest.mark.parametrize("side", ["width", "height"])
def test_an_image_side_that_is_no_pixel_count_is_reported(side: str, value: object) -> None:
    faults = _faults(lambda c: c["images"][0].update({side: value}))
    assert faults[Code.WRONG_FIELD][1] == f"train:/images/0/{side}"


def test_a_missing_field_is_called_missing() -> None:
    faults = _faults(lambda c: c["images"][0].pop("file_name"))
    assert "file_name is missing" in faults[Code.WRONG_FIELD][2]


@pytest.mark.parametrize("name", ["", None, 3, "x" * 201, "a\nb", "a\0b", "\ud800"])
def test_a_class_name_that_cannot_be_shown_is_reported(name: object) -> None:
    faults = _faults(lambda c: c["categories"][0].update(name=name))
    count, pointer, message = faults[Code.WRONG_FIELD]
    assert (count, pointer) == (1, "train:/categories/0/name")
    message.encode()  # printable, whatever the name was


def test_ids_used_twice_are_reported_for_each_kind_of_row() -> None:
    def repeat(content: dict[str, Any]) -> None:
        for rows in ("images", "categories", "annotations"):
            content[rows][1]["id"] = content[rows][0]["id"]

    content = copy.deepcopy(GOOD)
    repeat(content)
    _, findings = _check(content)
    (duplicate,) = (each for each in findings.errors() if each.code is Code.DUPLICATE_ID)
    assert [each.pointer for each in duplicate.examples] == [
        "train:/categories/1/id",
        "train:/images/1/id",
        "train:/annotations/1/id",
    ]


def test_a_class_name_listed_twice_is_reported() -> None:
    faults = _faults(lambda c: c["categories"].append({"id": 9, "name": "cat"}))
    assert faults[Code.DUPLICATE_CLASS][1] == "train:/categories/2/name"


def test_references_to_nothing_are_reported() -> None:
    faults = _faults(lambda c: c["annotations"][0].update(image_id=99, category_id=98))
    assert "no image with id 99" in faults[Code.DANGLING_IMAGE][2]
    assert "no class with id 98" in faults[Code.DANGLING_CLASS][2]


@pytest.mark.parametrize("crowd", [2, -1, True, False, "0", None, 0.0])
def test_an_iscrowd_beside_0_and_1_is_an_error(crowd: object) -> None:
    faults = _faults(lambda c: c["annotations"][0].update(iscrowd=crowd))
    assert faults[Code.BAD_ISCROWD][1] == "train:/annotations/0/iscrowd"


def test_images_and_classes_without_objects_are_warnings() -> None:
    faults = _faults(lambda c: c["annotations"].pop(0))
    assert faults[Code.IMAGE_WITHOUT_OBJECTS][1] == "train:/images/0"
    assert "'cat'" in faults[Code.CLASS_WITHOUT_OBJECTS][2]


def test_an_image_with_only_a_crowd_has_no_objects() -> None:
    faults = _faults(lambda c: c["annotations"].pop(1))
    assert faults[Code.IMAGE_WITHOUT_OBJECTS][1] == "train:/images/1"


def test_nothing_of_a_kind_at_all_is_an_error() -> None:
    assert Code.NO_OBJECTS in _faults(lambda c: c["annotations"].clear())
    assert Code.NO_IMAGES in _faults(lambda c: c["images"].clear())
    assert Code.NO_CLASSES in _faults(lambda c: c["categories"].clear())


def test_every_fault_is_found_not_only_the_first() -> None:
    def spoil(content: dict[str, Any]) -> None:
        content["annotations"][0]["bbox"] = [0, 0, 0, 0]
        content["annotations"][1]["image_id"] = 99
        content["annotations"][2]["iscrowd"] = 7
        content["images"][0]["width"] = "wide"

    wanted = {Code.BAD_BOX, Code.DANGLING_IMAGE, Code.BAD_ISCROWD, Code.WRONG_FIELD}
    assert wanted <= set(_faults(spoil))


def test_a_long_hostile_value_is_cut_in_the_message() -> None:
    faults = _faults(lambda c: c["annotations"][0].update(id="\x1b[31m" * 100_000))
    message = faults[Code.WRONG_FIELD][2]
    assert len(message) < 200
    assert message.isprintable()
