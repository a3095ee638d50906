"""Finds the four parts of a data set in a folder as people pack it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from pgd_core.datasets.layout import DatasetFiles
from pgd_core.errors import DatasetUnusable

LEVELS = 3  # how far down the data set's folder may lie
_SPLITS = {"train": ("train", "training"), "val": ("val", "valid", "validation")}
# Annotation files of a split, and where the pictures of one named like it may be.
_ANNOTATIONS = (
    *("{}.json", "{}.odgt", "annotation_{}.odgt", "annotations/{}.json"),
    *("annotations/instances_{}*.json", "instances_{}*.json", "{}/_annotations.coco.json"),
)
_IMAGES = ("{}", "images/{}", "{}/images", "Images/{}", "CrowdHuman_{}/Images", "Images", "images")
_WANTED = (
    "train.json, train/, val.json and val/; or annotations/instances_train2017.json, train2017/ "
    "and the same of val2017; or CrowdHuman's annotation_train.odgt, annotation_val.odgt and "
    "Images/; or Roboflow's train/_annotations.coco.json and valid/_annotations.coco.json"
)


def find_layout(root: Path) -> DatasetFiles:
    """The data set in `root` or in the one folder below it that is one; DatasetUnusable where there
    is none, or more than one."""
    folders = [root]
    for _ in range(LEVELS):
        found = [files for folder in folders if (files := _layout(folder))]
        if len(found) == 1:
            return found[0]
        if found:
            names = ", ".join(str(each.train_annotations.relative_to(root)) for each in found[:5])
            raise DatasetUnusable(f"there are {len(found)} data sets ({names}); send one of them")
        folders = [folder for parent in folders for folder in _below(parent)]
    top = sorted(f"{path.name}/" if path.is_dir() else path.name for path in root.iterdir())
    shown = ", ".join(top[:10]) + (f" and {len(top) - 10} more" if len(top) > 10 else "")
    raise DatasetUnusable(f"no data set was found among {shown or 'nothing'}; wanted are {_WANTED}")


def _below(folder: Path) -> Iterator[Path]:
    return (path for path in sorted(folder.iterdir()) if path.is_dir())


def _layout(folder: Path) -> DatasetFiles | None:
    train, val = _split(folder, "train"), _split(folder, "val")
    return DatasetFiles(*train, *val) if train and val else None


def _split(folder: Path, split: str) -> tuple[Path, Path] | None:
    """(annotations, images) of a split."""
    for name in _SPLITS[split]:
        for pattern in _ANNOTATIONS:
            files = [path for path in folder.glob(pattern.format(name)) if path.is_file()]
            images = _images(folder, files[0], name) if len(files) == 1 else None
            if images:
                return files[0], images
    return None


def _images(folder: Path, annotations: Path, split: str) -> Path | None:
    if annotations.name == "_annotations.coco.json":
        return annotations.parent
    stem = annotations.stem.removeprefix("instances_").removeprefix("annotation_")
    tried = [folder / place.format(name) for name in (stem, split) for place in _IMAGES]
    return next((path for path in tried if path.is_dir()), None)
