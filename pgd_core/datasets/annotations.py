"""Checks one split's COCO JSON, row by row; believes nothing about its types."""

from __future__ import annotations

import math
import statistics
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeGuard

from pgd_core.datasets.boxes import ImageRow, checked_area, checked_box, size_name
from pgd_core.datasets.fields import ID_WANTED, is_id, wrong_field
from pgd_core.datasets.pictures import PictureFacts, plain_name
from pgd_core.datasets.report import (
    OBJECTS_EDGES,
    SIDE_EDGES,
    Code,
    Findings,
    Histogram,
    SizeHistogram,
    SplitReport,
    shown,
)

MAX_CLASS_NAME = 200  # characters
MAX_SIDE = 2**16  # pixels; longer ones are counted as this
MAX_SHOWN_IMAGES, MAX_SHOWN_BOXES = 96, 200  # whose boxes are kept to be drawn

ShownBox = tuple[tuple[float, float, float, float], int]  # (XYWH in pixels, class id)


@dataclass
class Split:
    """What one annotation file says, as far as it could be read."""

    name: str  # "train" or "val"
    images: dict[int, ImageRow] = field(default_factory=dict)  # by id
    classes: dict[int, str] = field(default_factory=dict)  # name by id
    annotations: int = 0
    crowd: int = 0
    objects_per_class: Counter[int] = field(default_factory=Counter)  # by category id
    objects_per_image: Counter[int] = field(default_factory=Counter)  # by image id
    sizes: Counter[str] = field(default_factory=Counter)
    sides: Counter[int] = field(default_factory=Counter)  # boxes by whole pixels of their side
    shown: dict[int, list[ShownBox]] = field(default_factory=dict)  # by image id; of a few images

    def class_names(self) -> tuple[str, ...]:
        """In category-id order."""
        return tuple(name for _, name in sorted(self.classes.items()))

    def file_names(self) -> list[str]:
        """Each once, in the order of the file."""
        return list(dict.fromkeys(row.file_name for row in self.images.values()))

    def images_without_objects(self) -> list[ImageRow]:
        return [row for row in self.images.values() if not self.objects_per_image[row.id]]

    def choose_shown(self) -> None:
        """Keep the boxes of some images, evenly spaced, to be drawn; memory stays bounded."""
        ids = list(self.images)
        step = max(1, len(ids) // MAX_SHOWN_IMAGES)
        self.shown = {image_id: [] for image_id in ids[::step][:MAX_SHOWN_IMAGES]}

    def add_object(
        self,
        image_id: int,
        class_id: int,
        box: tuple[float, float, float, float],  # XYWH, pixels
        area: float,  # square pixels, as stated
    ) -> None:
        """Counts one object, no crowd."""
        self.objects_per_image[image_id] += 1
        self.objects_per_class[class_id] += 1
        self.sizes[size_name(area)] += 1
        side = math.sqrt(max(0.0, box[2])) * math.sqrt(max(0.0, box[3]))
        self.sides[int(min(side, MAX_SIDE))] += 1
        kept = self.shown.get(image_id)
        if kept is not None and len(kept) < MAX_SHOWN_BOXES:
            kept.append((box, class_id))

    def see_pictures(self, facts: Mapping[str, PictureFacts], findings: Findings) -> None:
        """COCO's rows state the sizes of their pictures; nothing is left to learn from these."""

    def report(self) -> SplitReport:
        return SplitReport(
            images=len(self.images),
            annotations=self.annotations,
            crowd=self.crowd,
            images_without_objects=len(self.images_without_objects()),
            objects_per_class={
                name: self.objects_per_class[id_] for id_, name in sorted(self.classes.items())
            },
            sizes=SizeHistogram(**self.sizes),
            objects_per_image=Histogram.of(OBJECTS_EDGES, self._images_by_objects()),
            box_sides=Histogram.of(SIDE_EDGES, self.sides),
            median_long_side=_median(max(i.width, i.height) for i in self.images.values()),
            median_short_side=_median(min(i.width, i.height) for i in self.images.values()),
        )

    def _images_by_objects(self) -> Counter[int]:
        """How many images have each number of objects."""
        return Counter(self.objects_per_image[image_id] for image_id in self.images)


def _median(sides: Iterable[int]) -> int:
    """Of pictures' sides; 0 of none."""
    found = list(sides)
    return statistics.median_low(found) if found else 0


def check_annotations(name: str, content: object, findings: Findings) -> Split:
    """Reads what is right into a Split and reports what is not."""
    split = Split(name)
    if not isinstance(content, dict):
        findings.add(
            Code.WRONG_SHAPE,
            f"{name}:/",
            f"the {name} annotations are {shown(content)}: COCO wants an object with images, "
            "annotations and categories",
        )
        return split
    rows = {
        key: list(_objects(name, key, content, findings))
        for key in ("categories", "images", "annotations")
    }
    known_names: set[str] = set()
    for pointer, row in rows["categories"]:
        _read_class(split, pointer, row, known_names, findings)
    for pointer, row in rows["images"]:
        _read_image(split, pointer, row, findings)
    split.choose_shown()
    known_ids: set[int] = set()
    for pointer, row in rows["annotations"]:
        _read_annotation(split, pointer, row, known_ids, findings)
    check_counts(split, findings)
    return split


def _objects(
    split: str, key: str, content: dict[str, Any], findings: Findings
) -> Iterator[tuple[str, dict[str, Any]]]:
    """(pointer, row) of each row that is an object."""
    rows = content.get(key)
    if not isinstance(rows, list):
        found = "missing" if key not in content else shown(rows)
        findings.add(Code.WRONG_SHAPE, f"{split}:/{key}", f"{key} is {found}: it must be a list")
        return
    for index, row in enumerate(rows):
        pointer = f"{split}:/{key}/{index}"
        if isinstance(row, dict):
            yield pointer, row
        else:
            message = f"row {index} of {key} is {shown(row)}: it must be an object"
            findings.add(Code.WRONG_SHAPE, pointer, message)


def _read_class(
    split: Split, pointer: str, row: dict[str, Any], known_names: set[str], findings: Findings
) -> None:
    class_id, name = row.get("id"), row.get("name")
    if not is_id(class_id):
        wrong_field(findings, pointer, row, "id", ID_WANTED)
        return
    if class_id in split.classes:
        message = f"class id {class_id} is used twice: give every class its own id"
        findings.add(Code.DUPLICATE_ID, f"{pointer}/id", message)
        return
    if not _is_class_name(name):
        wanted = f"must be a printable name of 1 to {MAX_CLASS_NAME} characters"
        wrong_field(findings, pointer, row, "name", wanted)
        return
    if name in known_names:
        message = f"class {shown(name)} is listed twice: merge the two under one id"
        findings.add(Code.DUPLICATE_CLASS, f"{pointer}/name", message)
    known_names.add(name)
    split.classes[class_id] = name


def _is_class_name(name: object) -> TypeGuard[str]:
    return isinstance(name, str) and 1 <= len(name) <= MAX_CLASS_NAME and name.isprintable()


def _read_image(split: Split, pointer: str, row: dict[str, Any], findings: Findings) -> None:
    image_id, file_name = row.get("id"), row.get("file_name")
    right = True
    if not is_id(image_id):
        wrong_field(findings, pointer, row, "id", ID_WANTED)
        right = False
    elif image_id in split.images:
        message = f"image id {image_id} is used twice: give every image its own id"
        findings.add(Code.DUPLICATE_ID, f"{pointer}/id", message)
        right = False
    if not isinstance(file_name, str):
        wrong_field(findings, pointer, row, "file_name", "must be a path inside the image folder")
        right = False
    for side in ("width", "height"):
        if not (is_id(row.get(side)) and row[side] > 0):
            wrong_field(findings, pointer, row, side, "must be a whole number of pixels above 0")
            right = False
    if right:
        split.images[row["id"]] = ImageRow(
            row["id"], pointer, plain_name(row["file_name"]), row["width"], row["height"]
        )


def _read_annotation(
    split: Split, pointer: str, row: dict[str, Any], known_ids: set[int], findings: Findings
) -> None:
    split.annotations += 1
    if not is_id(row.get("id")):
        wrong_field(findings, pointer, row, "id", ID_WANTED)
    elif row["id"] in known_ids:
        message = f"annotation id {row['id']} is used twice: give every annotation its own id"
        findings.add(Code.DUPLICATE_ID, f"{pointer}/id", message)
    else:
        known_ids.add(row["id"])
    image = _referenced(split.images, Code.DANGLING_IMAGE, pointer, row, "image_id", findings)
    name = _referenced(split.classes, Code.DANGLING_CLASS, pointer, row, "category_id", findings)
    box = checked_box(pointer, row, image, findings)
    area = checked_area(pointer, row, box, findings)
    crowd = row.get("iscrowd", 0)
    if type(crowd) is not int or crowd not in (0, 1):
        message = f"iscrowd is {shown(crowd)}: it must be 0 or 1"
        findings.add(Code.BAD_ISCROWD, f"{pointer}/iscrowd", message)
    elif crowd:
        split.crowd += 1
    elif image and name and box:
        split.add_object(image.id, row["category_id"], box, area)


def _referenced(
    table: dict[int, Any],
    dangling: Code,
    pointer: str,
    row: dict[str, Any],
    key: str,
    findings: Findings,
) -> Any:
    """What the row's reference points to; None where it points to nothing."""
    value = row.get(key)
    if not is_id(value):
        wrong_field(findings, pointer, row, key, ID_WANTED)
        return None
    if value not in table:
        kind = "image" if dangling is Code.DANGLING_IMAGE else "class"
        message = f"there is no {kind} with id {value}: add it or remove the annotation"
        findings.add(dangling, f"{pointer}/{key}", message)
    return table.get(value)


def check_counts(split: Split, findings: Findings) -> None:
    """Reports what there should be some of, once the split is read."""
    name = split.name
    if not split.classes:
        message = f"the {name} annotations list no usable class: add at least one"
        findings.add(Code.NO_CLASSES, f"{name}:/categories", message)
    if not split.images:
        message = f"the {name} annotations list no usable image: add at least one"
        findings.add(Code.NO_IMAGES, f"{name}:/images", message)
    if not split.objects_per_class.total():
        message = f"the {name} annotations hold no usable object: add at least one"
        findings.add(Code.NO_OBJECTS, f"{name}:/annotations", message)
        return
    for class_id, class_name in sorted(split.classes.items()):
        if not split.objects_per_class[class_id]:
            message = f"class {shown(class_name)} has no object in {name}"
            findings.add(Code.CLASS_WITHOUT_OBJECTS, f"{name}:/categories", message)
    for image in split.images_without_objects():
        message = f"image {image.id} has no object: fine where this is meant"
        findings.add(Code.IMAGE_WITHOUT_OBJECTS, image.pointer, message)
