"""Checks one split's COCO JSON, row by row; believes nothing about its types."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, TypeGuard

from pgd_core.datasets.report import Code, Findings, SizeHistogram, SplitReport, shown

SMALL_AREA, LARGE_AREA = 32**2, 96**2  # COCO's bounds, square pixels
ROUNDING = 0.01  # pixels a box may stick out unnoticed
SLIGHTLY = 1.0  # pixels a box may stick out as a matter of counting from 1
MAX_CLASS_NAME = 200  # characters
ID_BOUND = 2**63

ID_WANTED = "must be a whole number that fits in 64 bits"


@dataclass(frozen=True)
class ImageRow:
    id: int
    pointer: str
    file_name: str
    width: int  # pixels
    height: int


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

    def class_names(self) -> tuple[str, ...]:
        """In category-id order."""
        return tuple(name for _, name in sorted(self.classes.items()))

    def file_names(self) -> list[str]:
        """Each once, in the order of the file."""
        return list(dict.fromkeys(row.file_name for row in self.images.values()))

    def images_without_objects(self) -> list[ImageRow]:
        return [row for row in self.images.values() if not self.objects_per_image[row.id]]

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
        )


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
    known_ids: set[int] = set()
    for pointer, row in rows["annotations"]:
        _read_annotation(split, pointer, row, known_ids, findings)
    _check_counts(split, findings)
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
        _wrong_field(findings, pointer, row, "id", ID_WANTED)
        return
    if class_id in split.classes:
        message = f"class id {class_id} is used twice: give every class its own id"
        findings.add(Code.DUPLICATE_ID, f"{pointer}/id", message)
        return
    if not _is_class_name(name):
        wanted = f"must be a printable name of 1 to {MAX_CLASS_NAME} characters"
        _wrong_field(findings, pointer, row, "name", wanted)
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
        _wrong_field(findings, pointer, row, "id", ID_WANTED)
        right = False
    elif image_id in split.images:
        message = f"image id {image_id} is used twice: give every image its own id"
        findings.add(Code.DUPLICATE_ID, f"{pointer}/id", message)
        right = False
    if not isinstance(file_name, str):
        _wrong_field(findings, pointer, row, "file_name", "must be a path inside the image folder")
        right = False
    for side in ("width", "height"):
        if not (is_id(row.get(side)) and row[side] > 0):
            _wrong_field(findings, pointer, row, side, "must be a whole number of pixels above 0")
            right = False
    if right:
        split.images[row["id"]] = ImageRow(
            row["id"], pointer, row["file_name"], row["width"], row["height"]
        )


def _read_annotation(
    split: Split, pointer: str, row: dict[str, Any], known_ids: set[int], findings: Findings
) -> None:
    split.annotations += 1
    if not is_id(row.get("id")):
        _wrong_field(findings, pointer, row, "id", ID_WANTED)
    elif row["id"] in known_ids:
        message = f"annotation id {row['id']} is used twice: give every annotation its own id"
        findings.add(Code.DUPLICATE_ID, f"{pointer}/id", message)
    else:
        known_ids.add(row["id"])
    image = _referenced(split.images, Code.DANGLING_IMAGE, pointer, row, "image_id", findings)
    name = _referenced(split.classes, Code.DANGLING_CLASS, pointer, row, "category_id", findings)
    box = _checked_box(pointer, row, image, findings)
    area = _checked_area(pointer, row, box, findings)
    crowd = row.get("iscrowd", 0)
    if type(crowd) is not int or crowd not in (0, 1):
        message = f"iscrowd is {shown(crowd)}: it must be 0 or 1"
        findings.add(Code.BAD_ISCROWD, f"{pointer}/iscrowd", message)
    elif crowd:
        split.crowd += 1
    elif image and name and box:
        split.objects_per_image[image.id] += 1
        split.objects_per_class[row["category_id"]] += 1
        split.sizes[_size_name(area)] += 1


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
        _wrong_field(findings, pointer, row, key, ID_WANTED)
        return None
    if value not in table:
        kind = "image" if dangling is Code.DANGLING_IMAGE else "class"
        message = f"there is no {kind} with id {value}: add it or remove the annotation"
        findings.add(dangling, f"{pointer}/{key}", message)
    return table.get(value)


def _checked_box(
    pointer: str, row: dict[str, Any], image: ImageRow | None, findings: Findings
) -> tuple[float, float, float, float] | None:
    """XYWH in pixels; None where it cannot be used."""
    pointer, box = f"{pointer}/bbox", row.get("bbox")
    if not (isinstance(box, list) and len(box) == 4 and all(is_number(side) for side in box)):
        message = (
            f"the box is {_shown_box(box)}: it must be four finite numbers [x, y, width, height]"
        )
        findings.add(Code.BAD_BOX, pointer, message)
        return None
    x, y, width, height = (float(side) for side in box)
    if width <= 0 or height <= 0:
        message = f"the box is {width:g} x {height:g} pixels: both sides must be above 0"
        findings.add(Code.BAD_BOX, pointer, message)
        return None
    if width < 1 or height < 1:
        message = f"the box is {width:g} x {height:g} pixels: training leaves out what is under 1"
        findings.add(Code.BOX_UNDER_ONE_PIXEL, pointer, message)
    if image and not _check_inside(pointer, (x, y, width, height), image, findings):
        return None
    return x, y, width, height


def _shown_box(box: object) -> str:
    if isinstance(box, list) and len(box) <= 8:
        return f"[{', '.join(shown(side) for side in box)}]"
    return shown(box)


def _check_inside(
    pointer: str, box: tuple[float, float, float, float], image: ImageRow, findings: Findings
) -> bool:
    """False where nothing of the box lies in its image."""
    x, y, width, height = box
    out = max(-x, -y, x + width - image.width, y + height - image.height)  # pixels
    where = (
        f"box [{x:g}, {y:g}, {width:g}, {height:g}] in an image of {image.width} x {image.height}"
    )
    if x >= image.width or y >= image.height or x + width <= 0 or y + height <= 0:
        message = f"{where} lies wholly outside: remove it, or correct the image's size"
        findings.add(Code.BOX_OUTSIDE, pointer, message)
        return False
    if out > SLIGHTLY:
        message = f"{where} sticks out by {out:.1f} pixels: it will be clipped"
        findings.add(Code.BOX_PARTLY_OUTSIDE, pointer, message)
    elif out > ROUNDING:
        message = f"{where} sticks out by {out:.2f} pixels: it will be clipped"
        findings.add(Code.BOX_SLIGHTLY_OUTSIDE, pointer, message)
    return True


def _checked_area(
    pointer: str,
    row: dict[str, Any],
    box: tuple[float, float, float, float] | None,
    findings: Findings,
) -> float:
    """Square pixels; the box's own where the row states none."""
    box_area = box[2] * box[3] if box else 0.0
    if "area" not in row:
        message = "there is no area: width x height of the box is taken, which sizes objects in AP"
        findings.add(Code.AREA_MISSING, pointer, message)
        return box_area
    area = row["area"]
    if not is_number(area):
        _wrong_field(findings, pointer, row, "area", "must be a finite number of square pixels")
        return box_area
    if area <= 0:
        message = f"the area is {shown(area)}: width x height of the box is taken"
        findings.add(Code.AREA_NOT_POSITIVE, f"{pointer}/area", message)
        return box_area
    return float(area)


def _size_name(area: float) -> str:
    return "small" if area < SMALL_AREA else "medium" if area < LARGE_AREA else "large"


def _check_counts(split: Split, findings: Findings) -> None:
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


def _wrong_field(
    findings: Findings, pointer: str, row: dict[str, Any], key: str, wanted: str
) -> None:
    found = "is missing" if key not in row else f"is {shown(row[key])}"
    findings.add(Code.WRONG_FIELD, f"{pointer}/{key}", f"{key} {found}: it {wanted}")


def is_id(value: object) -> TypeGuard[int]:
    """A whole number of 64 bits; JSON's true is not 1."""
    return type(value) is int and -ID_BOUND <= value < ID_BOUND


def is_number(value: object) -> TypeGuard[int | float]:
    """Finite; JSON's true is not 1."""
    if type(value) is int:
        return -ID_BOUND <= value < ID_BOUND
    return type(value) is float and math.isfinite(value)
