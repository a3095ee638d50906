"""Crowded scenes in CrowdHuman's format, of handwritten digits: small data for demos and tests.

A "person" is any of scikit-learn's scans of digits (see `digits`); they stand in knots, one before
the other, and may leave the picture. Full boxes hold the whole digit, seen or not. Heaps of digits
too small to tell apart are ignore regions, tagged "mask", and so are digits that are nearly hidden.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from pgd_core.datasets.digits import (
    Box,
    Canvas,
    Glyph,
    Scans,
    background,
    check_scenes,
    enlarged,
    ink_colour,
    paint,
    split_scans,
)
from pgd_core.datasets.layout import DatasetFiles, write_text_whole
from pgd_core.datasets.odgt import CLASS_NAME, SUFFIX, file_name_of

KNOTS = (1, 3)  # of a scene, both included
DIGITS_PER_KNOT = (2, 5)
DIGIT_SIDES = (0.15, 0.3)  # longer side, of the scene's
STEP = (0.35, 0.9)  # from one digit of a knot to the next, of their width
HEAP_SHARE = 0.5  # of the scenes that have one
HEAP_DIGITS = 12
HEAP_DIGIT_SIDE = 6.0  # pixels
MIN_VISIBLE = 0.25  # of a full box; a person seen less is an ignore region


def write_crowd_scenes(
    folder: Path,
    images: int = 600,
    val_images: int = 100,
    size: int = 160,  # pixels, both sides
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,  # (written, in all)
) -> DatasetFiles:
    """A data set of one class in CrowdHuman's layout; the same seed writes the same scenes.

    Scene k of a split does not depend on how many scenes are asked for.
    """
    check_scenes(images, val_images, size)
    files = DatasetFiles.under(folder, SUFFIX)
    train_scans, val_scans = split_scans(seed)
    splits = (
        (train_scans, images, files.train_annotations, files.train_images),
        (val_scans, val_images, files.val_annotations, files.val_images),
    )
    for split, (scans, count, annotation_file, image_folder) in enumerate(splits):
        image_folder.mkdir(parents=True, exist_ok=True)
        rows = []
        for index in range(count):
            canvas, boxes = _scene(scans, size, np.random.default_rng([seed, split, index]))
            row_id = f"crowd,{index:06d}"
            picture = Image.fromarray((canvas.clip(0, 1) * 255).astype(np.uint8))
            picture.save(image_folder / file_name_of(row_id), quality=92)
            rows.append(json.dumps({"ID": row_id, "gtboxes": boxes}) + "\n")
            if progress:
                progress(split * images + index + 1, images + val_images)
        write_text_whole(annotation_file, "".join(rows))
    return files


def _scene(
    scans: Scans, size: int, rng: np.random.Generator
) -> tuple[Canvas, list[dict[str, Any]]]:
    """The picture and its `gtboxes`."""
    canvas = background(size, rng)
    heaps = [_heap(canvas, scans, rng)] if rng.random() < HEAP_SHARE else []
    full_boxes: list[Box] = []
    for _ in range(rng.integers(KNOTS[0], KNOTS[1], endpoint=True)):
        full_boxes += _knot(canvas, scans, rng)
    canvas += rng.standard_normal(canvas.shape, np.float32) * np.float32(rng.uniform(0.01, 0.04))
    hidden = [share < MIN_VISIBLE for share in _visible_shares(full_boxes, size)]
    persons = [
        _entry(CLASS_NAME, box, ignored) for box, ignored in zip(full_boxes, hidden, strict=True)
    ]
    return canvas, persons + [_entry("mask", heap, True) for heap in heaps]


def _heap(canvas: Canvas, scans: Scans, rng: np.random.Generator) -> Box:
    """Many tiny digits on a small spot."""
    size = len(canvas)
    side = int(size * rng.uniform(0.15, 0.3))
    left, top = (int(corner) for corner in rng.integers(0, size - side, 2))
    region = (left, top, left + side, top + side)
    for _ in range(HEAP_DIGITS):
        glyph = enlarged(_any_of(scans, rng), HEAP_DIGIT_SIDE, rng)
        x = left + int(rng.integers(0, max(1, side - glyph.shape[1])))
        y = top + int(rng.integers(0, max(1, side - glyph.shape[0])))
        _paint_visible(canvas, glyph, x, y, rng)
    return region


def _knot(canvas: Canvas, scans: Scans, rng: np.random.Generator) -> list[Box]:
    """Full boxes of digits of one size in a row, the later ones before the earlier."""
    size = len(canvas)
    side = size * float(rng.uniform(*DIGIT_SIDES))
    x, y = (float(corner) for corner in rng.uniform(-0.3 * side, size - 0.7 * side, 2))
    boxes: list[Box] = []
    for _ in range(rng.integers(DIGITS_PER_KNOT[0], DIGITS_PER_KNOT[1], endpoint=True)):
        glyph = enlarged(_any_of(scans, rng), side * float(rng.uniform(0.85, 1.15)), rng)
        box = _paint_visible(canvas, glyph, round(x), round(y), rng)
        if box is None:  # the row has left the picture
            break
        boxes.append(box)
        x += glyph.shape[1] * float(rng.uniform(*STEP))
        y += side * float(rng.uniform(-0.15, 0.15))
    return boxes


def _any_of(scans: Scans, rng: np.random.Generator) -> Image.Image:
    return scans.glyphs[int(rng.integers(len(scans.glyphs)))]


def _paint_visible(
    canvas: Canvas, glyph: Glyph, x: int, y: int, rng: np.random.Generator
) -> Box | None:
    """Paints what of the glyph lies in the picture; its full box, None where nothing does."""
    size, (height, width) = len(canvas), glyph.shape
    x1, y1, x2, y2 = max(x, 0), max(y, 0), min(x + width, size), min(y + height, size)
    if x1 >= x2 or y1 >= y2:
        return None
    visible = (x1, y1, x2, y2)
    part = glyph[y1 - y : y2 - y, x1 - x : x2 - x]
    paint(canvas, part, visible, ink_colour(canvas, visible, rng))
    return x, y, x + width, y + height


def _visible_shares(boxes: list[Box], size: int) -> list[float]:
    """Of each full box: the part that lies in the picture and under no later box."""
    owner = np.full((size, size), -1)
    for index, (x1, y1, x2, y2) in enumerate(boxes):
        owner[max(y1, 0) : max(y2, 0), max(x1, 0) : max(x2, 0)] = index
    areas = [(x2 - x1) * (y2 - y1) for x1, y1, x2, y2 in boxes]
    return [float((owner == index).sum()) / area for index, area in enumerate(areas)]


def _entry(tag: str, box: Box, ignored: bool) -> dict[str, Any]:
    x1, y1, x2, y2 = box
    extra = {"ignore": 1} if ignored else {}
    return {"tag": tag, "fbox": [x1, y1, x2 - x1, y2 - y1], "extra": extra}
