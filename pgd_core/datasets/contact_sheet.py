"""One picture of a data set: some of its pictures with their boxes and class names."""

from __future__ import annotations

from collections.abc import Iterator, Sequence, Set
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont, ImageOps

from pgd_core.datasets.annotations import ShownBox, Split
from pgd_core.datasets.boxes import ImageRow
from pgd_core.datasets.pictures import FORMATS
from pgd_core.evaluation.pictures import INK, PAPER, QUIET, TRUTH, draw_boxes

PICTURES = 24  # of both splits
COLUMNS = 6
PANEL = 240  # pixels, both sides
GAP, CAPTION = 10, 20
MAX_LABEL, MAX_NAME = 20, 26  # characters


def write_contact_sheet(
    path: Path,
    splits: Sequence[tuple[Split, Path, Set[str]]],  # with the folder and the files that decode
) -> None:
    """A JPEG with up to 24 pictures, from each split as many, images with objects first."""
    share = PICTURES // max(1, len(splits))
    panels = [
        (_panel(split, folder, row), f"{split.name}: {row.file_name}"[-MAX_NAME:])
        for split, folder, whole in splits
        for row in _chosen(split, whole, share)
    ]
    rows = max(1, -(-len(panels) // COLUMNS))
    size = (GAP + COLUMNS * (PANEL + GAP), GAP + rows * (PANEL + CAPTION + GAP))
    sheet = Image.new("RGB", size, PAPER)
    draw = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(13)
    if not panels:
        draw.text((GAP, GAP), "no picture of the data set could be read", INK, font)
    for index, (panel, caption) in enumerate(panels):
        left = GAP + index % COLUMNS * (PANEL + GAP)
        top = GAP + index // COLUMNS * (PANEL + CAPTION + GAP)
        sheet.paste(panel, (left, top))
        draw.text((left, top + PANEL + 2), _printable(caption), QUIET, font)
    sheet.save(path, "JPEG", quality=88, subsampling=0)  # thin lines keep their colour


def _chosen(split: Split, whole: Set[str], count: int) -> list[ImageRow]:
    """Images that decode, evenly spaced among those whose boxes were kept."""
    rows = [split.images[image_id] for image_id in split.shown]
    rows = [row for row in rows if row.file_name in whole]
    rows.sort(key=lambda row: not split.shown[row.id])  # stable: in the file's order
    with_objects = sum(bool(split.shown[row.id]) for row in rows)
    among = max(count, with_objects)
    step = max(1, min(among, len(rows)) // count)
    return rows[:among][::step][:count]


def _panel(split: Split, folder: Path, row: ImageRow) -> Image.Image:
    """A square with the picture in it, turned as training sees it."""
    panel = Image.new("RGB", (PANEL, PANEL), (232, 232, 232))
    try:
        with Image.open(folder / row.file_name, formats=FORMATS) as file:
            file.draft("RGB", (2 * PANEL, 2 * PANEL))  # decodes a large JPEG at a part of its size
            picture = ImageOps.contain(ImageOps.exif_transpose(file).convert("RGB"), panel.size)
    except (OSError, ValueError) as error:  # odd modes: decoded, but not drawn
        draw = ImageDraw.Draw(panel)
        draw.text((6, 6), f"not drawn: {_printable(str(error))[:30]}", INK)
        return panel
    boxes = [*_scaled(split.shown[row.id], row, picture.size)]
    names = [_printable(split.classes[class_id][:MAX_LABEL]) for _, class_id in split.shown[row.id]]
    drawn = draw_boxes(picture, np.array(boxes).reshape(-1, 4), names, None, TRUTH)
    panel.paste(drawn, ((PANEL - drawn.width) // 2, (PANEL - drawn.height) // 2))
    return panel


def _scaled(
    boxes: Sequence[ShownBox], row: ImageRow, size: tuple[int, int]
) -> Iterator[tuple[float, float, float, float]]:
    """XYXY in pixels of a picture of that size, clipped to it; boxes may be of any length."""
    for (x, y, width, height), _ in boxes:
        for_x, for_y = size[0] / row.width, size[1] / row.height
        x1, x2 = (min(max(0.0, side), row.width) * for_x for side in (x, x + width))
        y1, y2 = (min(max(0.0, side), row.height) * for_y for side in (y, y + height))
        yield x1, y1, x2, y2


def _printable(text: str) -> str:
    """Surrogates cannot be drawn."""
    return text.encode("utf-8", "replace").decode()
