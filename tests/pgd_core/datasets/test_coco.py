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


def _write_split(path: Path, folder: Path, seeds: list[int]) -> None:
    folder.mkdir()
    images, annotations = [], []
    for index, seed in enumerate(seeds, 1):
        name = f"{index}.png"
        pixels = np.random.default_rng(seed).integers(0, 256, (40, 60, 3), np.uint8)
        Image.fromarray(pixels).save(folder / name)
        images.append({"id": index, "file_name": name, "width": 60, "height": 40})
        row = {"image_id": index, "bbox": [1, 2, 10, 10], "area": 100, "iscrowd": 0}
        annotations.append({"id": 2 * index, "category_id": 1, **row})
        annotations.append({"id": 2 * index + 1, "category_id": 2, **row})
    categories = [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}]
    content = {"images": images, "annotations": annotations, "categories": categories}
    path.write_text(json.dumps(content))


@pytest.fixture
def files(tmp_path: Path) -> DatasetFiles:
    files = DatasetFiles.under(tmp_path)
    _write_split(files.train_annotations, files.train_images, [1, 2, 3])
    _write_split(files.val_annotations, files.val_images, [11, 12])
    return files


def _change(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def _codes(report: DatasetReport) -> set[Code]:
    return {each.code for each in (*report.errors, *report.warnings)}


def test_a_good_data_set_is_usable_and_counted(files: DatasetFiles) -> None:
    report = check_dataset(files)
    assert report.usable
    assert not _codes(report)
    assert report.classes == ("cat", "dog")
    assert (report.train.images, report.val.images) == (3, 2)
    assert report.train.objects_per_class == {"cat": 3, "dog": 3}
    assert DatasetReport.model_validate_json(report.model_dump_json()) == report


def test_the_hash_follows_annotations_and_pictures(files: DatasetFiles) -> None:
    first = check_dataset(files).sha256
    assert check_dataset(files).sha256 == first
    picture = files.val_images / "1.png"
    picture.write_bytes(picture.read_bytes() + b"\0")
    second = check_dataset(files).sha256
    files.train_annotations.write_text(files.train_annotations.read_text() + " ")
    third = check_dataset(files).sha256
    assert len({first, second, third}) == 3


def test_progress_runs_over_both_splits(files: DatasetFiles) -> None:
    told: list[tuple[int, int]] = []
    check_dataset(files, lambda done, total: told.append((done, total)))
    assert told == [(done, 5) for done in range(1, 6)]


def test_a_missing_annotation_file_is_reported_and_the_other_still_checked(
    files: DatasetFiles,
) -> None:
    files.train_annotations.unlink()
    _change(files.val_annotations, lambda c: c["annotations"][0].update(iscrowd=5))
    assert _codes(check_dataset(files)) == {Code.FILE_UNREADABLE, Code.BAD_ISCROWD}


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b'{"images": NaN}',
        b'{"images": [Infinity]}',
        b'{"images": -Infinity}',
        b"\xff\xfe{}",
        b"\xef\xbb\xbf{}",
        b"[" * 1_000_000,
        b'{"id": ' + b"9" * 100_000 + b"}",
    ],
    ids=["empty", "half", "nan", "inf", "-inf", "utf-16", "bom", "deep", "digits"],
)
def test_what_is_no_strict_json_is_reported(files: DatasetFiles, content: bytes) -> None:
    files.val_annotations.write_bytes(content)
    report = check_dataset(files)
    assert [each.code for each in report.errors] == [Code.NOT_JSON]
    assert report.errors[0].pointer == "val:"
    assert report.train.images == 3


def test_a_file_past_the_cap_is_not_parsed(files: DatasetFiles) -> None:
    size = files.train_annotations.stat().st_size
    files.val_annotations.write_bytes(b" " * (size + 1))
    report = check_dataset(files, limits=DatasetLimits(annotation_bytes=size))
    assert [each.code for each in report.errors] == [Code.FILE_TOO_LARGE]


@pytest.mark.parametrize(
    "change",
    [
        lambda c: c["categories"].append({"id": 3, "name": "cow"}),
        lambda c: c["categories"][0].update(name="lynx"),
        lambda c: c["categories"][0].update(id=9),
    ],
    ids=["one more", "another name", "another id"],
)
def test_other_classes_in_val_are_an_error(
    files: DatasetFiles, change: Callable[[dict[str, Any]], object]
) -> None:
    _change(files.val_annotations, change)
    assert Code.CLASSES_DIFFER in _codes(check_dataset(files))


def test_picture_faults_point_to_the_image_row(files: DatasetFiles) -> None:
    (files.train_images / "2.png").unlink()
    (finding,) = check_dataset(files).errors
    assert finding.code is Code.PICTURE_MISSING
    assert finding.pointer == "train:/images/1/file_name"
    assert "'2.png'" in finding.message


def test_an_unsafe_name_is_an_error(files: DatasetFiles) -> None:
    _change(files.train_annotations, lambda c: c["images"][0].update(file_name="../val/1.png"))
    assert _codes(check_dataset(files)) == {Code.UNSAFE_FILE_NAME}


def test_a_stated_size_that_differs_is_an_error(files: DatasetFiles) -> None:
    _change(files.train_annotations, lambda c: c["images"][0].update(width=61))
    (finding,) = check_dataset(files).errors
    assert finding.code is Code.PICTURE_SIZE_DIFFERS
    assert "61 x 40" in finding.message
    assert "60 x 40" in finding.message


@pytest.mark.parametrize("stated", [(60, 40), (40, 60)])
def test_an_exif_turn_is_a_warning_at_either_size(
    files: DatasetFiles, stated: tuple[int, int]
) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (60, 40), "red").save(files.train_images / "1.png", exif=exif)
    _change(
        files.train_annotations, lambda c: c["images"][0].update(width=stated[0], height=stated[1])
    )
    report = check_dataset(files)
    assert report.usable
    assert _codes(report) == {Code.EXIF_ORIENTATION}


def test_a_picture_in_both_splits_is_a_warning_and_all_of_them_an_error(
    files: DatasetFiles,
) -> None:
    for shared, (name, usable, code) in enumerate(
        (("1.png", True, Code.SPLITS_OVERLAP), ("2.png", False, Code.VALIDATION_IS_TRAINING)), 1
    ):
        (files.val_images / name).write_bytes((files.train_images / name).read_bytes())
        report = check_dataset(files)
        assert report.usable is usable
        assert _codes(report) == {code}
        assert report.shared_pictures == shared
        assert report.shared_examples[0].model_dump() == {"train": "1.png", "val": "1.png"}


def test_the_same_bytes_twice_in_a_split_are_a_warning(files: DatasetFiles) -> None:
    (files.train_images / "1.png").write_bytes((files.train_images / "2.png").read_bytes())
    report = check_dataset(files)
    assert report.usable
    assert _codes(report) == {Code.PICTURE_REPEATED}


@pytest.mark.parametrize("before", ["", "./"])  # the name, so many times
def test_a_file_named_by_many_images_is_read_once(files: DatasetFiles, before: str) -> None:
    def repeat(content: dict[str, Any]) -> None:
        first = content["images"][0]
        name = first["file_name"]
        content["images"] += [
            first | {"id": 100 + i, "file_name": before * i + name} for i in range(50)
        ]

    _change(files.train_annotations, repeat)
    told: list[tuple[int, int]] = []
    report = check_dataset(files, lambda done, total: told.append((done, total)))
    assert told[-1] == (5, 5)
    assert report.train.images == 53
    assert Code.PICTURE_REPEATED in _codes(report)


def test_an_empty_val_split_is_an_error(files: DatasetFiles) -> None:
    _change(files.val_annotations, lambda c: (c["images"].clear(), c["annotations"].clear()))
    assert _codes(check_dataset(files)) == {Code.NO_IMAGES, Code.NO_OBJECTS}
