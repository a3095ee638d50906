"""Draws what detectors found: boxes on one picture, and models side by side on a sheet."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from pgd_core.evaluation.detections import Detections

Colour = tuple[int, int, int]

# Okabe and Ito's palette: told apart by colour-blind readers too.
TRUTH: Colour = (0, 114, 178)
RIGHT: Colour = (0, 158, 115)
WRONG: Colour = (213, 94, 0)
MISSED: Colour = (240, 228, 66)
PAPER: Colour = (250, 250, 250)
INK: Colour = (32, 32, 32)
QUIET: Colour = (110, 110, 110)

MATCH_IOU = 0.5
SHOWN_FROM = 0.3  # the score of a detection that is drawn
PANEL_WIDTH = 400  # pixels, of one picture on a sheet
GAP = 14
TITLE_HEIGHT, CAPTION_HEIGHT, LEGEND_HEIGHT = 34, 24, 32
TITLE_SIZE, CAPTION_SIZE, LABEL_SIZE = 20, 14, 12  # font sizes, pixels
TRUTH_TITLE = "truth"


@dataclass(frozen=True)
class ComparisonRow:
    """One picture with its objects and what each model found in it."""

    image: Image.Image
    truth: Detections
    columns: Mapping[str, Detections]  # by title, such as teacher, plain, distilled
    note: str = ""  # written beside the number of objects


def draw_boxes(
    image: Image.Image,
    boxes: NDArray[Any],  # (D, 4)  XYXY, pixels of `image` before scaling
    labels: Sequence[str],  # D; an empty one is not drawn
    scores: NDArray[Any] | None,  # (D,)
    colour: Colour,
    *,
    scale: float = 1.0,  # small pictures become legible at 2 or 3
    dashed: bool = False,
) -> Image.Image:
    """A scaled copy with the boxes on it; boxes are drawn first, labels above all of them."""
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    picture = image.convert("RGB")
    picture = picture.resize(size, Image.Resampling.LANCZOS) if size != image.size else picture
    draw = ImageDraw.Draw(picture)
    places = [tuple(float(side) * scale for side in box) for box in boxes]
    for place in places:
        _draw_outline(draw, place, colour, dashed)
    for index, (place, label) in enumerate(zip(places, labels, strict=True)):
        text = label if scores is None or not label else f"{label} {scores[index]:.2f}"
        _draw_label(draw, picture.size, place, text, colour)
    return picture


def _draw_outline(
    draw: ImageDraw.ImageDraw, place: tuple[float, ...], colour: Colour, dashed: bool
) -> None:
    x1, y1, x2, y2 = (round(side) for side in place)
    x2, y2 = max(x1, x2 - 1), max(y1, y2 - 1)  # the last pixel inside
    if not dashed:
        draw.rectangle((x1, y1, x2, y2), outline=colour, width=2)
        return
    dash, period = 6, 10  # pixels
    for x in range(x1, x2 + 1, period):
        for y in (y1, y2 - 1):
            draw.rectangle((x, y, min(x + dash, x2), y + 1), fill=colour)
    for y in range(y1, y2 + 1, period):
        for x in (x1, x2 - 1):
            draw.rectangle((x, y, x + 1, min(y + dash, y2)), fill=colour)


def _draw_label(
    draw: ImageDraw.ImageDraw,
    size: tuple[int, int],
    place: tuple[float, ...],
    text: str,
    colour: Colour,
) -> None:
    """On a patch above the box; below it where there is no room; always inside the picture."""
    if not text:
        return
    font = ImageFont.load_default(LABEL_SIZE)
    width, height = round(draw.textlength(text, font)) + 6, LABEL_SIZE + 4
    x = min(max(0, round(place[0])), max(0, size[0] - width))
    y = round(place[1]) - height
    if y < 0:
        y = min(round(place[3]), size[1] - height)
    draw.rectangle((x, y, x + width - 1, y + height - 1), fill=colour)
    draw.text((x + 3, y + height / 2), text, _readable_on(colour), font, anchor="lm")


def _readable_on(colour: Colour) -> Colour:
    red, green, blue = colour
    return INK if 0.299 * red + 0.587 * green + 0.114 * blue > 150 else (255, 255, 255)


def comparison_picture(
    rows: Sequence[ComparisonRow],
    class_names: Mapping[int, str],  # by category id
    path: Path,
    min_score: float = SHOWN_FROM,
) -> None:
    """A PNG sheet: a row for each picture, the truth first, then a column for each model.

    A detection is right where it meets an object of its class, not yet met by a better one, with
    IoU >= 0.5. Missed objects are drawn dashed.
    """
    assert rows, "no pictures to compare"
    titles = list(rows[0].columns)
    assert all(list(row.columns) == titles for row in rows), "rows with different columns"
    drawn = [_drawn_row(row, class_names, min_score) for row in rows]
    heights = [max(panel.height for panel, _ in row) + CAPTION_HEIGHT for row in drawn]
    sheet = Image.new(
        "RGB",
        (
            GAP + (1 + len(titles)) * (PANEL_WIDTH + GAP),
            TITLE_HEIGHT + sum(heights) + GAP * (len(rows) - 1) + LEGEND_HEIGHT,
        ),
        PAPER,
    )
    draw = ImageDraw.Draw(sheet)
    for column, title in enumerate([TRUTH_TITLE, *titles]):
        _write(draw, _left(column), TITLE_HEIGHT / 2, title, INK, TITLE_SIZE)
    top = TITLE_HEIGHT
    for row, height in zip(drawn, heights, strict=True):
        for column, (panel, caption) in enumerate(row):
            sheet.paste(panel, (_left(column), top))
            middle = top + panel.height + CAPTION_HEIGHT / 2
            _write(draw, _left(column), middle, caption, QUIET, CAPTION_SIZE)
        top += height + GAP
    _draw_legend(draw, sheet.height - LEGEND_HEIGHT / 2, min_score)
    sheet.save(path, "PNG")


def _left(column: int) -> int:
    return GAP + column * (PANEL_WIDTH + GAP)


def _drawn_row(
    row: ComparisonRow, class_names: Mapping[int, str], min_score: float
) -> list[tuple[Image.Image, str]]:
    """(panel, caption) of the truth and of each model."""
    scale = PANEL_WIDTH / row.image.width
    truth = row.truth
    names = [class_names[int(category_id)] for category_id in truth.category_ids]
    count = len(truth.scores)
    panel = draw_boxes(row.image, truth.boxes, names, None, TRUTH, scale=scale)
    drawn = [(panel, f"{count} object{'' if count == 1 else 's'}   {row.note}".rstrip())]
    for found in row.columns.values():
        drawn.append(_judged_panel(row.image, truth, found.above(min_score), class_names, scale))
    return drawn


def _judged_panel(
    image: Image.Image,
    truth: Detections,
    found: Detections,
    class_names: Mapping[int, str],
    scale: float,
) -> tuple[Image.Image, str]:
    right, met = matches(truth, found)
    names = [class_names[int(category_id)] for category_id in found.category_ids]
    unnamed = [""] * int((~met).sum())
    panel = draw_boxes(image, truth.boxes[~met], unnamed, None, MISSED, scale=scale, dashed=True)
    for chosen, colour in ((~right, WRONG), (right, RIGHT)):  # the right ones on top
        chosen_names = [name for name, is_chosen in zip(names, chosen, strict=True) if is_chosen]
        panel = draw_boxes(
            panel, found.boxes[chosen] * scale, chosen_names, found.scores[chosen], colour
        )
    return panel, f"{right.sum()} right   {(~right).sum()} wrong   {(~met).sum()} missed"


def matches(
    truth: Detections,
    found: Detections,  # best first
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:  # (D,) found is right, (G,) truth was met
    """COCO's greedy matching at one IoU: the best detection chooses first."""
    right = np.zeros(len(found.scores), bool)
    met = np.zeros(len(truth.scores), bool)
    ious = _ious(found.boxes, truth.boxes)  # (D, G)
    same = found.category_ids[:, None] == truth.category_ids[None, :]
    for index in range(len(right)):
        free = np.where(same[index] & ~met, ious[index], 0)
        if free.size and free.max() >= MATCH_IOU:
            right[index] = met[free.argmax()] = True
    return right, met


def _ious(
    one: NDArray[Any],  # (D, 4)  XYXY
    other: NDArray[Any],  # (G, 4)  XYXY
) -> NDArray[Any]:  # (D, G)
    top_left = np.maximum(one[:, None, :2], other[None, :, :2])
    bottom_right = np.minimum(one[:, None, 2:], other[None, :, 2:])
    shared = (bottom_right - top_left).clip(0).prod(-1)
    areas = [(boxes[:, 2:] - boxes[:, :2]).prod(-1) for boxes in (one, other)]
    union = areas[0][:, None] + areas[1][None, :] - shared
    return np.asarray(shared / np.maximum(union, 1e-9))


def _draw_legend(draw: ImageDraw.ImageDraw, middle: float, min_score: float) -> None:
    x = float(GAP)
    meanings = ((TRUTH, "object"), (RIGHT, "right"), (WRONG, "wrong"), (MISSED, "missed"))
    for colour, meaning in meanings:
        draw.rectangle((x, middle - 6, x + 12, middle + 6), fill=colour, outline=QUIET)
        x = _write(draw, x + 18, middle, meaning, INK, CAPTION_SIZE) + 20
    note = f"scores from {min_score:g}; right: same class, IoU from {MATCH_IOU:g}"
    _write(draw, x, middle, note, QUIET, CAPTION_SIZE)


def _write(
    draw: ImageDraw.ImageDraw, x: float, middle: float, text: str, colour: Colour, size: int
) -> float:
    """Text from x on, centred on a height; gives where it ends."""
    font = ImageFont.load_default(size)
    draw.text((x, middle), text, colour, font, anchor="lm")
    return x + draw.textlength(text, font)
