"""Checks the box and the area of one annotation against its image."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pgd_core.datasets.fields import is_number, wrong_field
from pgd_core.datasets.report import Code, Findings, shown

SMALL_AREA, LARGE_AREA = 32**2, 96**2  # COCO's bounds, square pixels
ROUNDING = 0.01  # pixels a box may stick out unnoticed
SLIGHTLY = 1.0  # pixels a box may stick out as a matter of counting from 1


@dataclass(frozen=True)
class ImageRow:
    id: int
    pointer: str
    file_name: str
    width: int  # pixels
    height: int


def checked_box(
    pointer: str, row: dict[str, Any], image: ImageRow | None, findings: Findings
) -> tuple[float, float, float, float] | None:
    """XYWH in pixels; None where the row's box cannot be used."""
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
    if image and not check_inside(pointer, (x, y, width, height), image, findings):
        return None
    return x, y, width, height


def _shown_box(box: object) -> str:
    if isinstance(box, list) and len(box) <= 8:
        return f"[{', '.join(shown(side) for side in box)}]"
    return shown(box)


def check_inside(
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


def checked_area(
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
        wrong_field(findings, pointer, row, "area", "must be a finite number of square pixels")
        return box_area
    if area <= 0:
        message = f"the area is {shown(area)}: width x height of the box is taken"
        findings.add(Code.AREA_NOT_POSITIVE, f"{pointer}/area", message)
        return box_area
    return float(area)


def size_name(area: float) -> str:
    return "small" if area < SMALL_AREA else "medium" if area < LARGE_AREA else "large"
