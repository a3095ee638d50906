"""Where the four parts of a data set lie, and how a new one is written."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class DatasetFiles:
    """A data set: an annotation file and an image folder for each split."""

    train_annotations: Path
    train_images: Path
    val_annotations: Path
    val_images: Path

    @classmethod
    def under(cls, folder: Path, suffix: str | None = None) -> DatasetFiles:
        """The four parts by their usual names: train.json, train/, val.json, val/.

        Without a suffix it is .odgt, CrowdHuman's, where only train.odgt is there.
        """
        if suffix is None:
            is_crowdhuman = (folder / "train.odgt").exists() and not (
                folder / "train.json"
            ).exists()
            suffix = ".odgt" if is_crowdhuman else ".json"
        return cls(
            train_annotations=folder / f"train{suffix}",
            train_images=folder / "train",
            val_annotations=folder / f"val{suffix}",
            val_images=folder / "val",
        )


@dataclass
class CocoSplit:
    """One split being written; category ids are 1, 2, … in the order of the class names."""

    class_names: tuple[str, ...]
    images: list[dict[str, Any]] = field(default_factory=list)
    annotations: list[dict[str, Any]] = field(default_factory=list)

    def add_image(self, file_name: str, width: int, height: int) -> int:
        """The new image's id."""
        image_id = len(self.images) + 1
        self.images.append(
            {"id": image_id, "file_name": file_name, "width": width, "height": height}
        )
        return image_id

    def add_box(
        self,
        image_id: int,
        label: int,  # 0-based index into class_names
        box: tuple[float, float, float, float],  # XYXY, pixels
    ) -> None:
        x1, y1, x2, y2 = (float(side) for side in box)
        self.annotations.append(
            {
                "id": len(self.annotations) + 1,
                "image_id": image_id,
                "category_id": label + 1,
                "bbox": [x1, y1, x2 - x1, y2 - y1],
                "area": (x2 - x1) * (y2 - y1),
                "iscrowd": 0,
            }
        )

    def content(self) -> dict[str, Any]:
        """In COCO's structure."""
        categories = [{"id": i, "name": name} for i, name in enumerate(self.class_names, 1)]
        return {
            "images": self.images,
            "annotations": self.annotations,
            "categories": categories,
        }

    def write(self, path: Path) -> None:
        """The annotation file, whole or not at all."""
        write_text_whole(path, json.dumps(self.content()))


def write_text_whole(path: Path, text: str) -> None:
    """Writes beside the target and renames, so that no reader sees half a file."""
    unfinished = path.with_name(path.name + ".unfinished")
    try:
        unfinished.write_text(text, encoding="utf-8")
        unfinished.replace(path)
    except BaseException:
        unfinished.unlink(missing_ok=True)  # a disk that is full must not stay so
        raise
