"""Annotations as training reads them: what the check promised to mend is mended."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pgd_core.datasets.layout import write_text_whole
from pgd_core.datasets.odgt import coco_content, file_name_of, is_odgt, read_odgt
from pgd_core.datasets.pictures import plain_name, seen_size


def write_prepared(
    annotations: Path,  # of a data set that `check_dataset` found usable
    target: Path,
    images: Path | None = None,  # where the pictures are; needed for an odgt file
) -> None:
    """Clips boxes to their image and fills in `area` and `iscrowd`; drops what no detector reads.

    MMDetection's COCO reader fails without `area` and pycocotools without `iscrowd`.
    """
    write_text_whole(target, json.dumps(prepared_content(annotations, images)))


def prepared_content(annotations: Path, images: Path | None = None) -> dict[str, Any]:
    """What `write_prepared` writes."""
    content = read_coco(annotations, images)
    sizes = {image["id"]: (image["width"], image["height"]) for image in content["images"]}
    return {
        "images": [
            _only(image, "id", "file_name", "width", "height") for image in content["images"]
        ],
        "annotations": [_prepared(row, *sizes[row["image_id"]]) for row in content["annotations"]],
        "categories": [_only(category, "id", "name") for category in content["categories"]],
    }


def read_coco(annotations: Path, images: Path | None = None) -> dict[str, Any]:
    """What the annotation file says, in COCO's structure; an odgt file is brought into it."""
    if not is_odgt(annotations):
        content: dict[str, Any] = json.loads(annotations.read_text(encoding="utf-8"))
        for image in content["images"]:
            image["file_name"] = plain_name(image["file_name"])
        return content
    assert images is not None, "an odgt file states no sizes: they are read from the pictures"
    rows = list(read_odgt(annotations))
    return coco_content(rows, {row.id: seen_size(images / file_name_of(row.id)) for row in rows})


def _only(row: dict[str, Any], *keys: str) -> dict[str, Any]:
    return {key: row[key] for key in keys}


def _prepared(row: dict[str, Any], width: int, height: int) -> dict[str, Any]:
    x, y, box_width, box_height = row["bbox"]
    x1, y1 = max(x, 0), max(y, 0)
    x2, y2 = min(x + box_width, width), min(y + box_height, height)
    box_area = (x2 - x1) * (y2 - y1)
    stated = row.get("area", 0)  # of the mask where there is one, so smaller than the box
    return {
        **_only(row, "id", "image_id", "category_id"),
        "bbox": [x1, y1, x2 - x1, y2 - y1],
        "area": min(stated, box_area) if stated > 0 else box_area,
        "iscrowd": row.get("iscrowd", 0),
    }
