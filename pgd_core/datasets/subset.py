"""A part of a data set as a new one, in COCO's layout: some classes, some of the pictures."""

from __future__ import annotations

import random
import shutil
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pgd_core.datasets.layout import CocoSplit, DatasetFiles
from pgd_core.datasets.prepared import prepared_content
from pgd_core.errors import InvalidSpec


@dataclass(frozen=True)
class Subset:
    """What is taken; everything where nothing is said."""

    classes: tuple[str, ...] = ()  # in the order they get in the new data set
    images: int | None = None  # at most, of train
    val_images: int | None = None
    seed: int = 0  # of which pictures


def write_subset(
    files: DatasetFiles,  # of a data set that `check_dataset` found usable
    folder: Path,  # that does not exist yet
    subset: Subset,
) -> DatasetFiles:
    """Copies the chosen pictures; of chosen classes, only those that show one of them.

    Boxes are clipped to their picture, and crowds stay crowds. InvalidSpec for what cannot be had.
    """
    if folder.exists():
        raise InvalidSpec(f"{folder} exists; give a folder that does not")
    train, val = chosen_splits(files, subset)
    unfinished = folder.with_name(f".{folder.name}.unfinished")
    unfinished.mkdir()
    try:
        new = DatasetFiles.under(unfinished, ".json")
        _write(train, files.train_images, new.train_annotations, new.train_images)
        _write(val, files.val_images, new.val_annotations, new.val_images)
        unfinished.rename(folder)
    except BaseException:
        shutil.rmtree(unfinished)
        raise
    return DatasetFiles.under(folder, ".json")


def chosen_splits(files: DatasetFiles, subset: Subset) -> tuple[CocoSplit, CocoSplit]:
    """Train and val of the new data set; InvalidSpec for what cannot be had."""
    train = prepared_content(files.train_annotations, files.train_images)
    val = prepared_content(files.val_annotations, files.val_images)
    return _chosen(train, subset.images, subset), _chosen(val, subset.val_images, subset)


def _write(split: CocoSplit, source: Path, annotations: Path, target: Path) -> None:
    for image in split.images:
        copy = target / image["file_name"]
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source / image["file_name"], copy)
    split.write(annotations)


def _chosen(content: dict[str, Any], count: int | None, subset: Subset) -> CocoSplit:
    """The rows of the new split; a larger count with the same seed holds the smaller one's."""
    names = {category["id"]: category["name"] for category in _by_id(content["categories"])}
    classes = subset.classes or tuple(names.values())
    _refuse_unknown(classes, names.values())
    labels = {id_: classes.index(name) for id_, name in names.items() if name in classes}
    rows = [row for row in content["annotations"] if row["category_id"] in labels]
    images = _by_id(content["images"])
    if subset.classes:
        shown = {row["image_id"] for row in rows if not row["iscrowd"]}
        images = [image for image in images if image["id"] in shown]
    if count is not None:
        if not count >= 1:
            raise InvalidSpec(f"{count} pictures: choose 1 or more")
        random.Random(subset.seed).shuffle(images)
        images = _by_id(images[:count])
    if not images:
        raise InvalidSpec(f"no picture shows any of {', '.join(classes)}; choose other classes")
    return _renumbered(classes, images, rows, labels)


def _refuse_unknown(classes: Collection[str], known: Collection[str]) -> None:
    unknown = [name for name in classes if name not in known]
    if unknown or len(set(classes)) < len(classes):
        raise InvalidSpec(
            f"classes {', '.join(unknown or classes)}: the data set has {', '.join(known)}; name "
            "each wanted one once"
        )


def _by_id(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return sorted(rows, key=lambda row: int(row["id"]))


def _renumbered(
    classes: tuple[str, ...],
    images: list[dict[str, Any]],
    rows: list[dict[str, Any]],
    labels: dict[int, int],
) -> CocoSplit:
    split = CocoSplit(classes)
    new_ids = {
        image["id"]: split.add_image(image["file_name"], image["width"], image["height"])
        for image in images
    }
    for row in rows:
        if row["image_id"] in new_ids:
            x, y, width, height = row["bbox"]
            box = (x, y, x + width, y + height)
            split.add_box(new_ids[row["image_id"]], labels[row["category_id"]], box)
            split.annotations[-1] |= {"area": row["area"], "iscrowd": row["iscrowd"]}
    return split
