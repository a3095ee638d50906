from __future__ import annotations

from pathlib import Path

import pytest

from pgd_core.datasets.layout_search import find_layout
from pgd_core.errors import DatasetUnusable

LAYOUTS = {
    "plain": ("train.json", "train/1.jpg", "val.json", "val/1.jpg"),
    "valid": ("train.json", "train/1.jpg", "valid.json", "valid/1.jpg"),
    "odgt": ("train.odgt", "train/1.jpg", "val.odgt", "val/1.jpg"),
    "coco": (
        "annotations/instances_train2017.json",
        "train2017/1.jpg",
        "annotations/instances_val2017.json",
        "val2017/1.jpg",
    ),
    "coco with images": (
        "annotations/instances_train2017.json",
        "images/train2017/1.jpg",
        "annotations/instances_val2017.json",
        "images/val2017/1.jpg",
    ),
    "annotations apart": (
        "annotations/train.json",
        "images/train/1.jpg",
        "annotations/val.json",
        "images/val/1.jpg",
    ),
    "crowdhuman": ("annotation_train.odgt", "Images/1.jpg", "annotation_val.odgt", "Images/1.jpg"),
    "roboflow": (
        "train/_annotations.coco.json",
        "train/1.jpg",
        "valid/_annotations.coco.json",
        "valid/1.jpg",
    ),
}


def made(folder: Path, paths: tuple[str, ...]) -> Path:
    for path in paths:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).touch()
    return folder


@pytest.mark.parametrize("depth", [0, 1, 2])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_each_usual_layout_is_found_at_any_level(layout: str, depth: int, tmp_path: Path) -> None:
    paths = LAYOUTS[layout]
    root = made(tmp_path / Path(*["deeper"] * depth), paths)
    files = find_layout(tmp_path)
    found = [files.train_annotations, files.train_images, files.val_annotations, files.val_images]
    wanted = [paths[0], str(Path(paths[1]).parent), paths[2], str(Path(paths[3]).parent)]
    assert [str(path.relative_to(root)) for path in found] == wanted


def test_two_data_sets_are_one_too_many(tmp_path: Path) -> None:
    for name in "ab":
        made(tmp_path / name, LAYOUTS["plain"])
    with pytest.raises(DatasetUnusable, match=r"2 data sets \(a/train\.json, b/train\.json\)"):
        find_layout(tmp_path)


@pytest.mark.parametrize("missing", range(4))
def test_a_missing_part_is_told_with_what_is_wanted(missing: int, tmp_path: Path) -> None:
    paths = LAYOUTS["plain"]
    made(tmp_path, (*paths[:missing], *paths[missing + 1 :]))
    with pytest.raises(DatasetUnusable, match=r"among .*train.*wanted are train\.json"):
        find_layout(tmp_path)
