"""Checks one split's odgt file, line by line; believes nothing about its types."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, NoReturn

from pgd_core.datasets.annotations import Split, check_counts
from pgd_core.datasets.boxes import ImageRow, check_inside
from pgd_core.datasets.fields import is_number, wrong_field
from pgd_core.datasets.odgt import (
    CLASS_ID,
    CLASS_NAME,
    Box,
    file_name_of,
    is_in_picture,
    is_person,
    numbered_lines,
)
from pgd_core.datasets.pictures import PictureFacts, unsafe_part
from pgd_core.datasets.report import Code, Findings, shown


@dataclass(frozen=True)
class _StatedBox:
    pointer: str
    box: Box
    person: bool


@dataclass
class CrowdSplit(Split):
    """A split whose boxes wait for the sizes of their pictures, which the file does not state."""

    boxes: dict[int, list[_StatedBox]] = field(default_factory=dict)  # by image id

    def see_pictures(self, facts: Mapping[str, PictureFacts], findings: Findings) -> None:
        """Takes the sizes from the pictures, turned as training sees them, and checks the boxes."""
        self.choose_shown()
        for image_id, row in self.images.items():
            width, height = facts[row.file_name].seen_size()
            self.images[image_id] = replace(row, width=width, height=height)
            for stated in self.boxes[image_id]:
                self._count(stated, self.images[image_id], findings)
        check_counts(self, findings)

    def _count(self, stated: _StatedBox, image: ImageRow, findings: Findings) -> None:
        pointer, (x, y, width, height) = stated.pointer, stated.box
        if image.width and not is_in_picture(stated.box, image.width, image.height):
            message = (
                f"box [{x:g}, {y:g}, {width:g}, {height:g}] has no area in its image of "
                f"{image.width} x {image.height}: training leaves it out, and a person that "
                "nobody can find counts as missed"
            )
            findings.add(Code.BOX_LEFT_OUT, pointer, message)
            return
        if image.width:
            check_inside(pointer, stated.box, image, findings)
            width, height = min(x + width, image.width), min(y + height, image.height)
            x, y = max(x, 0), max(y, 0)
            width, height = width - x, height - y
        if min(width, height) < 1:
            message = f"the box shows {width:g} x {height:g} pixels: training leaves out under 1"
            findings.add(Code.BOX_UNDER_ONE_PIXEL, pointer, message)
        if stated.person:
            self.add_object(image.id, CLASS_ID, (x, y, width, height), width * height)


def check_odgt(
    name: str,  # "train" or "val"
    content: bytes,
    refuse_constant: Callable[[str], NoReturn],
    findings: Findings,
) -> CrowdSplit:
    """Reads what is right into a split and reports what is not; boxes follow with the pictures."""
    split = CrowdSplit(name, classes={CLASS_ID: CLASS_NAME})
    known_ids: set[str] = set()
    for index, line in numbered_lines(content):
        pointer = f"{name}:/{index}"
        try:
            row: Any = json.loads(line.decode(), parse_constant=refuse_constant)
        except (ValueError, RecursionError, MemoryError) as error:
            reason = str(error) or type(error).__name__
            message = f"line {index + 1} of the {name} annotations is no strict JSON: {reason}"
            findings.add(Code.NOT_JSON, pointer, message)
            continue
        if isinstance(row, dict):
            _read_row(split, pointer, row, known_ids, findings)
        else:
            message = f"line {index + 1} is {shown(row)}: it must be an object with ID and gtboxes"
            findings.add(Code.WRONG_SHAPE, pointer, message)
    return split


def _read_row(
    split: CrowdSplit, pointer: str, row: dict[str, Any], known_ids: set[str], findings: Findings
) -> None:
    row_id = row.get("ID")
    boxes = _read_boxes(split, pointer, row, findings)
    if not isinstance(row_id, str):
        wrong_field(findings, pointer, row, "ID", "must be the picture's name without .jpg")
        return
    unsafe = "holds a slash" if "/" in row_id else unsafe_part(row_id)
    if unsafe:
        message = f"ID {shown(row_id)} {unsafe}: name a picture of the image folder, without .jpg"
        findings.add(Code.UNSAFE_FILE_NAME, f"{pointer}/ID", message)
        return
    if row_id in known_ids:
        message = f"ID {shown(row_id)} is used twice: give every picture one line"
        findings.add(Code.DUPLICATE_ID, f"{pointer}/ID", message)
        return
    known_ids.add(row_id)
    image_id = len(split.images) + 1
    split.images[image_id] = ImageRow(image_id, f"{pointer}/ID", file_name_of(row_id), 0, 0)
    split.boxes[image_id] = boxes


def _read_boxes(
    split: CrowdSplit, pointer: str, row: dict[str, Any], findings: Findings
) -> list[_StatedBox]:
    """The usable ones."""
    entries = row.get("gtboxes")
    if not isinstance(entries, list):
        wrong_field(findings, pointer, row, "gtboxes", "must be a list")
        return []
    boxes = []
    for index, entry in enumerate(entries):
        split.annotations += 1
        at = f"{pointer}/gtboxes/{index}"
        if not isinstance(entry, dict):
            message = f"entry {index} of gtboxes is {shown(entry)}: it must be an object"
            findings.add(Code.WRONG_SHAPE, at, message)
            continue
        known, box = _check_tag(at, entry, findings), _checked_box(at, entry, findings)
        if known and not is_person(entry):
            split.crowd += 1
        if known and box:
            boxes.append(_StatedBox(f"{at}/fbox", box, is_person(entry)))
    return boxes


def _check_tag(pointer: str, entry: dict[str, Any], findings: Findings) -> bool:
    """Whether it is known what the box is."""
    extra = entry.get("extra")
    if not isinstance(entry.get("tag"), str):
        wrong_field(findings, pointer, entry, "tag", "must be a text; persons are 'person'")
        return False
    if extra is None:
        return True
    if not isinstance(extra, dict):
        wrong_field(findings, pointer, entry, "extra", "must be an object where it is given")
        return False
    ignore = extra.get("ignore", 0)
    if not (is_number(ignore) or isinstance(ignore, bool)):
        wrong_field(findings, f"{pointer}/extra", extra, "ignore", "must be 0 or 1")
        return False
    return True


def _checked_box(pointer: str, entry: dict[str, Any], findings: Findings) -> Box | None:
    box = entry.get("fbox")
    if isinstance(box, list) and len(box) == 4 and all(is_number(side) for side in box):
        x, y, width, height = (float(side) for side in box)
        return x, y, width, height
    said = "missing" if "fbox" not in entry else shown(box)
    message = f"the full box is {said}: it must be four finite numbers [x, y, width, height]"
    findings.add(Code.BAD_BOX, f"{pointer}/fbox", message)
    return None
