from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pgd_core.datasets.digits import DIGIT_NAMES, split_scans, write_digit_scenes
from pgd_core.datasets.layout import DatasetFiles
from pgd_core.errors import InvalidSpec


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> DatasetFiles:
    return write_digit_scenes(tmp_path_factory.mktemp("digits"), images=40, val_images=10, size=128)


def _load(path: Path) -> Any:
    return json.loads(path.read_text())


def test_the_split_sizes_are_those_asked_for(files: DatasetFiles) -> None:
    assert len(_load(files.train_annotations)["images"]) == 40
    assert len(_load(files.val_annotations)["images"]) == 10
    assert len(list(files.train_images.iterdir())) == 40
    assert len(list(files.val_images.iterdir())) == 10


def test_categories_are_the_ten_digits_with_ids_from_one(files: DatasetFiles) -> None:
    categories = _load(files.train_annotations)["categories"]
    assert [c["name"] for c in categories] == list(DIGIT_NAMES)
    assert [c["id"] for c in categories] == list(range(1, 11))
    assert categories == _load(files.val_annotations)["categories"]


def test_every_box_lies_in_its_image_and_has_the_promised_scale(files: DatasetFiles) -> None:
    for annotation in _load(files.train_annotations)["annotations"]:
        x, y, w, h = annotation["bbox"]
        assert x >= 0
        assert y >= 0
        assert x + w <= 128
        assert y + h <= 128
        assert 8 <= max(w, h) <= 80  # the ink of a digit drawn 12 to 64 pixels long, turned
        assert annotation["area"] == w * h


def test_every_scene_has_a_digit_and_at_most_seven(files: DatasetFiles) -> None:
    content = _load(files.train_annotations)
    counts = {image["id"]: 0 for image in content["images"]}
    for annotation in content["annotations"]:
        counts[annotation["image_id"]] += 1
    assert min(counts.values()) >= 1
    assert max(counts.values()) <= 7


def test_the_picture_on_disk_has_the_stated_size(files: DatasetFiles) -> None:
    image = _load(files.train_annotations)["images"][3]
    with Image.open(files.train_images / image["file_name"]) as picture:
        assert picture.size == (image["width"], image["height"]) == (128, 128)


def test_the_same_seed_writes_the_same_scenes_however_many_are_asked_for(
    files: DatasetFiles, tmp_path: Path
) -> None:
    again = write_digit_scenes(tmp_path, images=5, val_images=1, size=128)
    for picture in again.train_images.iterdir():
        assert picture.read_bytes() == (files.train_images / picture.name).read_bytes()
    first = [a for a in _load(files.train_annotations)["annotations"] if a["image_id"] <= 5]
    assert _load(again.train_annotations)["annotations"] == first


def test_another_seed_writes_other_scenes(files: DatasetFiles, tmp_path: Path) -> None:
    other = write_digit_scenes(tmp_path, images=1, val_images=1, size=128, seed=1)
    name = "000000.jpg"
    assert (other.train_images / name).read_bytes() != (files.train_images / name).read_bytes()


def test_training_and_validation_show_different_scans() -> None:
    train, val = split_scans(seed=0)
    drawn = [{glyph.tobytes() for glyph in scans.glyphs} for scans in (train, val)]
    assert len(train.glyphs) + len(val.glyphs) == 1797
    assert not drawn[0] & drawn[1]
    assert set(val.labels) == set(range(10))


def test_progress_counts_both_splits(tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    write_digit_scenes(tmp_path, 2, 1, 64, progress=lambda done, total: told.append((done, total)))
    assert told == [(1, 3), (2, 3), (3, 3)]


def test_the_box_is_where_the_picture_changes(files: DatasetFiles) -> None:
    content = _load(files.train_annotations)
    name = content["images"][0]["file_name"]
    pixels = np.asarray(Image.open(files.train_images / name).convert("L"), np.float64)
    for annotation in (a for a in content["annotations"] if a["image_id"] == 1):
        x, y, w, h = (int(v) for v in annotation["bbox"])
        assert pixels[y : y + h, x : x + w].std() > 15


@pytest.mark.parametrize(
    ("asked", "named"),
    [({"images": 0}, "images = 0"), ({"val_images": 0}, "val_images = 0"), ({"size": 63}, "63")],
)
def test_an_impossible_request_is_refused_with_its_value(
    tmp_path: Path, asked: dict[str, int], named: str
) -> None:
    with pytest.raises(InvalidSpec, match=named):
        write_digit_scenes(tmp_path, **asked)
