"""CrowdHuman's annotation files: a JSON object a line, which holds one picture's persons.

A row is `{"ID": …, "gtboxes": [{"tag": "person", "fbox": [x, y, w, h], "extra": {…}}, …]}`; its
picture is ID.jpg, whose size the row does not state. A box of any other tag than "person", or with
`extra.ignore` other than 0, is an ignore region. `fbox` is the full body: it may leave the picture.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SUFFIX = ".odgt"
CLASS_ID, CLASS_NAME = 1, "person"

Box = tuple[float, float, float, float]  # XYWH, pixels


@dataclass(frozen=True)
class CrowdRow:
    """A picture's boxes as stated: they may leave the picture, and a side may be 0 or below."""

    id: str
    persons: tuple[Box, ...]
    ignored: tuple[Box, ...]


def is_odgt(annotations: Path) -> bool:
    """Whether a file of this name is CrowdHuman's; any other is COCO's."""
    return annotations.suffix.lower() == SUFFIX


def file_name_of(row_id: str) -> str:
    """The picture of a row."""
    return f"{row_id}.jpg"


def numbered_lines(content: bytes) -> Iterator[tuple[int, bytes]]:
    """(index from 0, line) of the lines that hold anything."""
    start = index = 0
    while start < len(content):
        end = content.find(b"\n", start)
        end = len(content) if end < 0 else end
        if line := content[start:end].strip():
            yield index, line
        start, index = end + 1, index + 1


def is_person(box: Mapping[str, Any]) -> bool:
    """Whether an entry of `gtboxes` is to be found; the others are neither right nor wrong."""
    extra = box.get("extra") or {}
    return bool(box["tag"] == CLASS_NAME and extra.get("ignore", 0) == 0)


def read_odgt(
    path: Path,  # of a data set that `check_dataset` found usable
) -> Iterator[CrowdRow]:
    """The rows of a file, one at a time."""
    for _, line in numbered_lines(path.read_bytes()):
        row = json.loads(line)
        boxes = [(is_person(box), box["fbox"]) for box in row["gtboxes"]]
        yield CrowdRow(
            row["ID"],
            persons=tuple(_four(box) for person, box in boxes if person),
            ignored=tuple(_four(box) for person, box in boxes if not person),
        )


def _four(sides: list[float]) -> Box:
    x, y, width, height = sides
    return float(x), float(y), float(width), float(height)


def coco_content(
    rows: Iterable[CrowdRow],
    sizes: Mapping[str, tuple[int, int]],  # (width, height), pixels, by row id
) -> dict[str, Any]:
    """The rows in COCO's structure, ignore regions as `iscrowd`; image ids count from 1.

    Departure: a box with nothing of it in its picture is left out. CrowdHuman's AP and MR count
    such a person all the same, so that they are read from the rows.
    """
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for image_id, row in enumerate(rows, 1):
        width, height = sizes[row.id]
        name = file_name_of(row.id)
        images.append({"id": image_id, "file_name": name, "width": width, "height": height})
        for crowd, boxes in enumerate((row.persons, row.ignored)):
            annotations += [
                {"image_id": image_id, "category_id": CLASS_ID, "bbox": list(box), "iscrowd": crowd}
                for box in boxes
                if is_in_picture(box, width, height)
            ]
    for annotation_id, annotation in enumerate(annotations, 1):
        annotation["id"] = annotation_id
    return {
        "images": images,
        "annotations": annotations,
        "categories": [{"id": CLASS_ID, "name": CLASS_NAME}],
    }


def is_in_picture(box: Box, width: int, height: int) -> bool:
    """Whether the box has an area and some of it lies in a picture of that many pixels."""
    x, y, box_width, box_height = box
    in_x = box_width > 0 and x < width and x + box_width > 0
    return in_x and box_height > 0 and y < height and y + box_height > 0
