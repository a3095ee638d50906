from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pgd_core.datasets.__main__ import main
from pgd_core.datasets.coco import check_dataset
from pgd_core.datasets.crowd import write_crowd_scenes
from pgd_core.datasets.digits import write_digit_scenes
from pgd_core.datasets.layout import DatasetFiles
from pgd_core.datasets.report import Code
from pgd_core.datasets.subset import Subset, write_subset
from pgd_core.errors import InvalidSpec


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> DatasetFiles:
    return write_digit_scenes(tmp_path_factory.mktemp("digits"), 20, 8, size=64, seed=1)


def rows(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(path.read_text())
    return content


def names(path: Path) -> set[str]:
    return {image["file_name"] for image in rows(path)["images"]}


def test_all_of_a_data_set_is_the_same_data_set(files: DatasetFiles, tmp_path: Path) -> None:
    new = write_subset(files, tmp_path / "new", Subset())
    old_report, new_report = check_dataset(files), check_dataset(new)
    assert (new_report.train, new_report.val) == (old_report.train, old_report.val)
    assert new_report.classes == old_report.classes
    picture = next(iter(names(new.train_annotations)))
    assert (new.train_images / picture).read_bytes() == (files.train_images / picture).read_bytes()
    assert [path.name for path in tmp_path.iterdir()] == ["new"]


def test_chosen_classes_come_in_the_order_that_was_asked_with_their_pictures_only(
    files: DatasetFiles, tmp_path: Path
) -> None:
    new = write_subset(files, tmp_path / "new", Subset(classes=("seven", "two")))
    report, before = check_dataset(new), check_dataset(files)
    assert report.classes == ("seven", "two")
    assert report.train.objects_per_class == {
        name: before.train.objects_per_class[name] for name in ("seven", "two")
    }
    assert report.train.images_without_objects == 0
    assert report.train.images < before.train.images
    assert {path.name for path in new.train_images.iterdir()} == names(new.train_annotations)


def test_pictures_are_drawn_by_the_seed_and_more_of_them_hold_the_fewer(
    files: DatasetFiles, tmp_path: Path
) -> None:
    chosen = [
        names(
            write_subset(
                files, tmp_path / str(index), Subset(images=count, val_images=2, seed=seed)
            ).train_annotations
        )
        for index, (count, seed) in enumerate([(5, 0), (9, 0), (5, 0), (5, 1)])
    ]
    assert [len(each) for each in chosen] == [5, 9, 5, 5]
    assert chosen[0] < chosen[1]
    assert chosen[0] == chosen[2] != chosen[3]
    assert len(names(tmp_path / "0" / "val.json")) == 2


def test_a_part_of_crowdhuman_is_written_as_coco_with_its_ignore_regions(tmp_path: Path) -> None:
    crowd = write_crowd_scenes(tmp_path / "crowd", 6, 3, size=96, seed=0)
    new = write_subset(crowd, tmp_path / "new", Subset(images=4))
    report, before = check_dataset(new), check_dataset(crowd)
    assert report.usable
    assert not {found.code for found in report.warnings} & {Code.BOX_PARTLY_OUTSIDE}
    assert (report.train.images, report.val.images) == (4, 3)
    assert report.val.crowd == before.val.crowd


@pytest.mark.parametrize(
    ("subset", "says"),
    [
        (Subset(classes=("cat",)), "classes cat: the data set has zero, one"),
        (Subset(classes=("two", "two")), "name each wanted one once"),
        (Subset(images=0), "choose 1 or more"),
    ],
)
def test_what_cannot_be_had_is_refused_and_nothing_written(
    subset: Subset, says: str, files: DatasetFiles, tmp_path: Path
) -> None:
    with pytest.raises(InvalidSpec, match=says):
        write_subset(files, tmp_path / "new", subset)
    assert list(tmp_path.iterdir()) == []


def test_a_picture_that_is_gone_leaves_nothing_behind(files: DatasetFiles, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        write_subset(
            DatasetFiles(files.train_annotations, tmp_path, files.val_annotations, tmp_path),
            tmp_path / "new",
            Subset(),
        )
    assert list(tmp_path.iterdir()) == []


def test_the_command_writes_one_and_says_where(
    files: DatasetFiles, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source, target = str(files.train_images.parent), str(tmp_path / "new")
    options = ["--class", "two", "--class", "seven", "--images", "3", "--seed", "4"]
    assert main(["subset", source, target, *options]) == 0
    assert capsys.readouterr().out.splitlines()[0] == f"{target}/train.json"
    assert len(rows(tmp_path / "new" / "train.json")["images"]) == 3
    assert main(["subset", source, target]) == 2
    assert "exists" in capsys.readouterr().err
