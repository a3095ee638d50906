from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pgd_core.datasets.__main__ import main
from pgd_core.datasets.coco import check_dataset
from pgd_core.datasets.crowd import write_crowd_scenes
from pgd_core.datasets.layout import DatasetFiles
from pgd_core.datasets.odgt import CrowdRow, file_name_of, read_odgt
from pgd_core.errors import InvalidSpec

SIZE = 96


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> DatasetFiles:
    return write_crowd_scenes(tmp_path_factory.mktemp("crowd"), images=24, val_images=6, size=SIZE)


@pytest.fixture(scope="module")
def rows(files: DatasetFiles) -> list[CrowdRow]:
    return list(read_odgt(files.train_annotations))


def test_the_data_set_is_found_under_its_folder_and_usable(files: DatasetFiles) -> None:
    assert DatasetFiles.under(files.train_images.parent) == files
    report = check_dataset(files)
    assert report.usable
    assert (report.train.images, report.val.images) == (24, 6)
    assert 0 < report.train.crowd < report.train.annotations


def test_persons_stand_before_one_another_and_leave_the_picture(rows: list[CrowdRow]) -> None:
    crowded = outside = 0
    for row in rows:
        boxes = np.array(row.persons).reshape(-1, 4)
        first, second = boxes[:, :2], boxes[:, :2] + boxes[:, 2:]
        outside += int(((first < 0) | (second > SIZE)).any(axis=1).sum())
        shared = (np.minimum(second[:, None], second) - np.maximum(first[:, None], first)).clip(0)
        crowded += int((np.triu(shared.prod(axis=2), 1) > 0).sum())
    assert crowded > len(rows)
    assert outside > 0


def test_the_same_seed_writes_the_same_scenes_however_many_are_asked_for(
    files: DatasetFiles, rows: list[CrowdRow], tmp_path: Path
) -> None:
    again = write_crowd_scenes(tmp_path, images=3, val_images=1, size=SIZE)
    assert list(read_odgt(again.train_annotations)) == rows[:3]
    name = file_name_of(rows[2].id)
    assert (again.train_images / name).read_bytes() == (files.train_images / name).read_bytes()


def test_another_seed_writes_other_scenes(rows: list[CrowdRow], tmp_path: Path) -> None:
    other = write_crowd_scenes(tmp_path, images=1, val_images=1, size=SIZE, seed=1)
    assert next(read_odgt(other.train_annotations)) != rows[0]


def test_a_picture_has_the_size_that_was_asked_for(files: DatasetFiles) -> None:
    for path in files.val_images.iterdir():
        with Image.open(path) as picture:
            assert picture.size == (SIZE, SIZE)


@pytest.mark.parametrize("more", [{"images": 0}, {"val_images": 0}, {"size": 10}, {"size": 9999}])
def test_an_impossible_request_is_refused(tmp_path: Path, more: dict[str, int]) -> None:
    with pytest.raises(InvalidSpec):
        write_crowd_scenes(tmp_path, **more)


def test_the_command_writes_and_names_both_files(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["crowd", str(tmp_path), "--images", "2", "--val-images", "1", "--size", "64"]
    assert main(arguments) == 0
    assert capsys.readouterr().out.split() == [
        str(tmp_path / "train.odgt"),
        str(tmp_path / "val.odgt"),
    ]
    parts = [str(tmp_path / part) for part in ("train.odgt", "train", "val.odgt", "val")]
    assert main(["check", *parts, "--memory-gb", "0"]) == 0
