from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pgd_core.datasets.coco import DatasetFiles, DatasetLimits, check_dataset
from pgd_core.datasets.report import Code, DatasetReport

PERSON = {"tag": "person", "fbox": [1, 2, 10, 20], "extra": {"box_id": 0, "occ": 0}}
MASK = {"tag": "mask", "fbox": [5, 5, 20, 20], "extra": {"box_id": 1, "ignore": 1}}


def _write_split(path: Path, folder: Path, seeds: list[int]) -> None:
    folder.mkdir()
    rows = []
    for seed in seeds:
        pixels = np.random.default_rng(seed).integers(0, 256, (40, 60, 3), np.uint8)
        Image.fromarray(pixels).save(folder / f"{seed},a.jpg")
        rows.append({"ID": f"{seed},a", "gtboxes": [PERSON, MASK]})
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


@pytest.fixture
def files(tmp_path: Path) -> DatasetFiles:
    files = DatasetFiles.under(tmp_path, ".odgt")
    _write_split(files.train_annotations, files.train_images, [1, 2, 3])
    _write_split(files.val_annotations, files.val_images, [11, 12])
    return files


def _change(files: DatasetFiles, change: Callable[[dict[str, Any]], object]) -> None:
    """The first row of the training file."""
    first, *rest = files.train_annotations.read_text().splitlines()
    row = json.loads(first)
    change(row)
    files.train_annotations.write_text("\n".join([json.dumps(row), *rest]))


def _found(report: DatasetReport) -> list[tuple[Code, str]]:
    return [(each.code, each.pointer) for each in (*report.errors, *report.warnings)]


def test_a_good_data_set_is_usable_and_counted(files: DatasetFiles) -> None:
    told: list[tuple[int, int]] = []
    report = check_dataset(files, lambda done, total: told.append((done, total)))
    assert report.usable
    assert _found(report) == []
    assert report.classes == ("person",)
    assert (report.train.images, report.val.images) == (3, 2)
    assert (report.train.annotations, report.train.crowd) == (6, 3)
    assert report.train.objects_per_class == {"person": 3}
    assert report.train.sizes.small == 3
    assert told[-1] == (5, 5)


@pytest.mark.parametrize(
    "line",
    [b"{", b'{"ID": NaN}', b"\xff\xfe{}", b"[" * 100_000, b'{"ID": ' + b"9" * 10_000 + b"}"],
    ids=["half", "nan", "utf-16", "deep", "digits"],
)
def test_a_malformed_line_is_reported_and_the_others_still_read(
    files: DatasetFiles, line: bytes
) -> None:
    content = files.train_annotations.read_bytes()
    files.train_annotations.write_bytes(content + b"\r\n\n" + line + b"\n")
    report = check_dataset(files)
    assert _found(report) == [(Code.NOT_JSON, "train:/5")]
    assert "line 6" in report.errors[0].message
    assert report.train.images == 3


def test_a_line_that_is_no_object_is_reported(files: DatasetFiles) -> None:
    files.train_annotations.write_text("[1, 2]\n" + files.train_annotations.read_text())
    assert _found(check_dataset(files)) == [(Code.WRONG_SHAPE, "train:/0")]


@pytest.mark.parametrize(
    ("row_id", "code"),
    [
        (None, Code.WRONG_FIELD),
        (7, Code.WRONG_FIELD),
        ("2,a", Code.DUPLICATE_ID),
        ("", Code.UNSAFE_FILE_NAME),
        ("../val/11,a", Code.UNSAFE_FILE_NAME),
        ("x/1,a", Code.UNSAFE_FILE_NAME),
        ("/etc/1", Code.UNSAFE_FILE_NAME),
        ("..", Code.UNSAFE_FILE_NAME),
        ("a\\b", Code.UNSAFE_FILE_NAME),
        ("a\0b", Code.UNSAFE_FILE_NAME),
        ("\ud800", Code.UNSAFE_FILE_NAME),
    ],
)
def test_an_id_that_names_no_picture_is_an_error(
    files: DatasetFiles, row_id: object, code: Code
) -> None:
    _change(files, lambda row: row.update(ID=row_id))
    pointer = "train:/1/ID" if code is Code.DUPLICATE_ID else "train:/0/ID"
    assert _found(check_dataset(files)) == [(code, pointer)]


@pytest.mark.parametrize("row_id", ["gone", "x" * 5000])
def test_a_missing_picture_is_an_error(files: DatasetFiles, row_id: str) -> None:
    _change(files, lambda row: row.update(ID=row_id))
    report = check_dataset(files)
    assert [each.code for each in report.errors] == [Code.PICTURE_MISSING]
    assert report.train.images == 3


@pytest.mark.parametrize(
    ("change", "code", "at"),
    [
        (lambda r: r.pop("gtboxes"), Code.WRONG_FIELD, "gtboxes"),
        (lambda r: r.update(gtboxes={}), Code.WRONG_FIELD, "gtboxes"),
        (lambda r: r["gtboxes"].append(5), Code.WRONG_SHAPE, "gtboxes/2"),
        (lambda r: r["gtboxes"][1].pop("tag"), Code.WRONG_FIELD, "gtboxes/1/tag"),
        (lambda r: r["gtboxes"][1].update(tag=["person"]), Code.WRONG_FIELD, "gtboxes/1/tag"),
        (lambda r: r["gtboxes"][1].update(extra=[]), Code.WRONG_FIELD, "gtboxes/1/extra"),
        (
            lambda r: r["gtboxes"][1]["extra"].update(ignore="yes"),
            Code.WRONG_FIELD,
            "gtboxes/1/extra/ignore",
        ),
        (lambda r: r["gtboxes"][1].pop("fbox"), Code.BAD_BOX, "gtboxes/1/fbox"),
        (lambda r: r["gtboxes"][1].update(fbox=[1, 2, 3]), Code.BAD_BOX, "gtboxes/1/fbox"),
        (lambda r: r["gtboxes"][1].update(fbox=[1, 2, 3, "4"]), Code.BAD_BOX, "gtboxes/1/fbox"),
        (lambda r: r["gtboxes"][1].update(fbox=[1, 2, 3, 10**400]), Code.BAD_BOX, "gtboxes/1/fbox"),
    ],
)
def test_wrong_types_are_errors(
    files: DatasetFiles, change: Callable[[dict[str, Any]], object], code: Code, at: str
) -> None:
    _change(files, change)
    found = _found(check_dataset(files))
    assert found[0] == (code, f"train:/0/{at}")
    assert {each for each, _ in found[1:]} <= {Code.IMAGE_WITHOUT_OBJECTS}


def test_a_number_too_large_for_a_float_is_no_box(files: DatasetFiles) -> None:
    text = files.train_annotations.read_text().replace("[1, 2, 10, 20]", "[1, 2, 10, 1e999]", 1)
    files.train_annotations.write_text(text)
    assert _found(check_dataset(files))[0] == (Code.BAD_BOX, "train:/0/gtboxes/0/fbox")


@pytest.mark.parametrize(
    ("fbox", "code"),
    [
        ([-3, 2, 10, 20], Code.BOX_PARTLY_OUTSIDE),
        ([50.5, 2, 10, 20], Code.BOX_SLIGHTLY_OUTSIDE),
        ([1, 2, 0.5, 20], Code.BOX_UNDER_ONE_PIXEL),
        ([1, 2, 0, 20], Code.BOX_LEFT_OUT),
        ([1, 2, 10, -20], Code.BOX_LEFT_OUT),
        ([60, 2, 10, 20], Code.BOX_LEFT_OUT),
        ([-1e308, -1e308, 1e308, 1e308], Code.BOX_LEFT_OUT),
    ],
)
def test_full_boxes_may_leave_the_picture_or_be_of_no_use(
    files: DatasetFiles, fbox: list[float], code: Code
) -> None:
    _change(files, lambda row: row["gtboxes"].append({"tag": "person", "fbox": fbox}))
    report = check_dataset(files)
    assert report.usable
    assert _found(report) == [(code, "train:/0/gtboxes/2/fbox")]
    assert report.train.objects_per_class == {"person": 3 if code is Code.BOX_LEFT_OUT else 4}


def test_an_unknown_tag_is_an_ignore_region(files: DatasetFiles) -> None:
    _change(files, lambda row: row["gtboxes"].append({"tag": "horse", "fbox": [1, 2, 3, 4]}))
    report = check_dataset(files)
    assert (report.usable, report.train.crowd) == (True, 4)
    assert report.train.objects_per_class == {"person": 3}


def test_a_split_without_persons_is_an_error(files: DatasetFiles) -> None:
    files.val_annotations.write_text(json.dumps({"ID": "11,a", "gtboxes": [MASK]}))
    assert [each.code for each in check_dataset(files).errors] == [Code.NO_OBJECTS]
    files.val_annotations.write_text("\n\n")
    assert [each.code for each in check_dataset(files).errors] == [Code.NO_IMAGES, Code.NO_OBJECTS]


def test_both_splits_are_of_one_format(files: DatasetFiles, tmp_path: Path) -> None:
    content = {"images": [], "annotations": [], "categories": [{"id": 1, "name": "person"}]}
    coco = tmp_path / "val.json"
    coco.write_text(json.dumps(content))
    mixed = DatasetFiles(files.train_annotations, files.train_images, coco, files.val_images)
    assert (Code.FORMATS_DIFFER, "val:") in _found(check_dataset(mixed))


def test_a_turned_picture_is_measured_as_it_is_seen(files: DatasetFiles) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (60, 40), "red").save(files.train_images / "1,a.jpg", exif=exif)
    low = {"tag": "person", "fbox": [1, 50, 5, 5]}  # below 40, above 60
    _change(files, lambda row: row["gtboxes"].append(low))
    report = check_dataset(files)
    assert report.usable
    assert [code for code, _ in _found(report)] == [Code.EXIF_ORIENTATION]


def test_a_picture_in_both_splits_is_found(files: DatasetFiles) -> None:
    (files.val_images / "11,a.jpg").write_bytes((files.train_images / "1,a.jpg").read_bytes())
    assert [code for code, _ in _found(check_dataset(files))] == [Code.SPLITS_OVERLAP]


def test_a_file_past_the_cap_is_not_parsed(files: DatasetFiles) -> None:
    size = files.train_annotations.stat().st_size
    files.val_annotations.write_bytes(b"\n" * (size + 1))
    report = check_dataset(files, limits=DatasetLimits(annotation_bytes=size))
    assert Code.FILE_TOO_LARGE in [each.code for each in report.errors]


def test_many_faults_are_counted_and_few_are_shown(files: DatasetFiles) -> None:
    files.train_annotations.write_text("{\n" * 5000)
    finding = next(e for e in check_dataset(files).errors if e.code is Code.NOT_JSON)
    assert (finding.count, len(finding.examples)) == (5000, 20)
