"""Cluttered scenes of real handwritten digits: a small detection data set for demos and tests.

The digits are scikit-learn's 1,797 scans of 8x8 pixels (Alpaydin and Kaynak, "Optical
Recognition of Handwritten Digits", UCI, 1998, CC BY 4.0). Training and validation scenes show
different scans. Nothing is downloaded.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from pgd_core.datasets.layout import CocoSplit, DatasetFiles
from pgd_core.errors import InvalidSpec

DIGIT_NAMES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")

SMALLEST_DIGIT = 12  # pixels, longer side
LARGEST_DIGIT = 64
DIGITS_PER_SCENE = (2, 7)  # both included
VAL_SHARE = 0.2  # of the scans
MAX_COVERED = 0.25  # of the smaller of two digits' boxes
VISIBLE_INK = 0.3  # opacity from which a pixel counts as the digit's

Canvas = NDArray[np.float32]  # (H, W, 3), RGB in [0, 1]
Glyph = NDArray[np.float32]  # (h, w), opacity in [0, 1]
Box = tuple[int, int, int, int]  # XYXY, pixels


@dataclass(frozen=True)
class Scans:
    """Handwritten digits cropped to their ink and an empty margin of one pixel."""

    glyphs: list[Image.Image]  # mode L, at most 10x10
    labels: list[int]


def write_digit_scenes(
    folder: Path,
    images: int = 1200,
    val_images: int = 200,
    size: int = 160,  # pixels, both sides
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,  # (written, in all)
) -> DatasetFiles:
    """A data set of ten classes in COCO layout; the same seed writes the same scenes.

    Scene k of a split does not depend on how many scenes are asked for.
    """
    check_scenes(images, val_images, size)
    files = DatasetFiles.under(folder, ".json")
    train_scans, val_scans = split_scans(seed)
    splits = (
        (train_scans, images, files.train_annotations, files.train_images),
        (val_scans, val_images, files.val_annotations, files.val_images),
    )
    for split, (scans, count, annotation_file, image_folder) in enumerate(splits):
        image_folder.mkdir(parents=True, exist_ok=True)
        coco = CocoSplit(DIGIT_NAMES)
        for index in range(count):
            rng = np.random.default_rng([seed, split, index])
            _write_scene(coco, image_folder / f"{index:06d}.jpg", *_scene(scans, size, rng))
            if progress:
                progress(split * images + index + 1, images + val_images)
        coco.write(annotation_file)
    return files


def check_scenes(images: int, val_images: int, size: int) -> None:
    """InvalidSpec for splits without a scene, and for sizes that no scene can have."""
    if images < 1 or val_images < 1:
        raise InvalidSpec(f"images = {images} and val_images = {val_images}: both must be >= 1")
    if not 64 <= size <= 2048:
        raise InvalidSpec(f"size = {size} pixels: choose 64 to 2048")


def split_scans(seed: int) -> tuple[Scans, Scans]:
    """Scans of the training scenes and, disjoint from them, of the validation scenes."""
    from sklearn.datasets import load_digits

    data = load_digits()
    pixels, labels = data.images, data.target  # (D, 8, 8) in [0, 16], (D,)
    order = np.random.default_rng([seed, 2]).permutation(len(labels))
    val_count = round(len(labels) * VAL_SHARE)
    train, val = order[val_count:], order[:val_count]
    return _cropped(pixels[train], labels[train]), _cropped(pixels[val], labels[val])


def _cropped(pixels: NDArray[np.float64], labels: NDArray[np.int64]) -> Scans:
    glyphs = []
    for scan in pixels:
        x1, y1, x2, y2 = _ink_box(scan > 2)
        ink = np.pad(scan[y1:y2, x1:x2], 1) * (255 / 16)
        glyphs.append(Image.fromarray(ink.astype(np.uint8)))
    return Scans(glyphs, labels.tolist())


def _ink_box(ink: NDArray[np.bool_]) -> Box:
    """The tight box of the true pixels."""
    columns, rows = np.flatnonzero(ink.any(axis=0)), np.flatnonzero(ink.any(axis=1))
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def _write_scene(
    coco: CocoSplit, path: Path, canvas: Canvas, objects: list[tuple[int, Box]]
) -> None:
    height, width = canvas.shape[:2]
    image_id = coco.add_image(path.name, width, height)
    for label, box in objects:
        coco.add_box(image_id, label, box)
    picture = Image.fromarray((canvas.clip(0, 1) * 255).astype(np.uint8))
    picture.save(path, quality=92)


def _scene(
    scans: Scans, size: int, rng: np.random.Generator
) -> tuple[Canvas, list[tuple[int, Box]]]:
    canvas = background(size, rng)
    _scatter_fragments(canvas, scans, rng)
    objects: list[tuple[int, Box]] = []
    for _ in range(rng.integers(DIGITS_PER_SCENE[0], DIGITS_PER_SCENE[1], endpoint=True)):
        pick = int(rng.integers(len(scans.glyphs)))
        glyph = enlarged(scans.glyphs[pick], _digit_side(size, rng), rng)
        box = _free_place(glyph, size, [other for _, other in objects], rng)
        if box is not None:
            paint(canvas, glyph, box, ink_colour(canvas, box, rng))
            objects.append((scans.labels[pick], box))
    noise = np.float32(rng.uniform(0.01, 0.05))
    canvas += rng.standard_normal(canvas.shape, np.float32) * noise
    return canvas, objects


def background(size: int, rng: np.random.Generator) -> Canvas:
    """Soft patches of colour crossed by lines and arcs."""
    patches = rng.uniform(0.2, 0.8) + rng.uniform(-0.12, 0.12, (4, 4, 3))
    picture = Image.fromarray((patches * 255).astype(np.uint8)).resize(
        (size, size), Image.Resampling.BICUBIC
    )
    draw = ImageDraw.Draw(picture)
    for _ in range(rng.integers(1, 5)):
        colour = tuple(int(c) for c in rng.integers(0, 256, 3))
        x1, y1, x2, y2 = (int(v) for v in rng.integers(0, size, 4))
        width = int(rng.integers(1, 4))
        if rng.random() < 0.6:
            draw.line((x1, y1, x2, y2), colour, width)
        else:
            sides = (min(x1, x2), min(y1, y2), max(x1, x2), max(y1, y2))
            draw.arc(sides, float(rng.uniform(0, 360)), float(rng.uniform(0, 360)), colour, width)
    canvas: Canvas = np.asarray(picture, np.float32) / np.float32(255)
    return canvas


def _scatter_fragments(canvas: Canvas, scans: Scans, rng: np.random.Generator) -> None:
    """Distractors: corners of digits, too small a part to be one."""
    size = len(canvas)
    for _ in range(rng.integers(0, 5)):
        glyph = scans.glyphs[int(rng.integers(len(scans.glyphs)))]
        left, top = (int(rng.integers(0, 2)) * (side // 2) for side in glyph.size)
        part = glyph.crop((left, top, left + glyph.width // 2, top + glyph.height // 2))
        opacity = enlarged(part, float(rng.uniform(4, 16)), rng)
        height, width = opacity.shape
        x, y = int(rng.integers(size - width)), int(rng.integers(size - height))
        box = (x, y, x + width, y + height)
        paint(canvas, opacity, box, ink_colour(canvas, box, rng))


def _digit_side(size: int, rng: np.random.Generator) -> float:
    """Length of the ink's longer side, as often in [12, 24] as in [24, 48] pixels."""
    largest = min(LARGEST_DIGIT, size * 0.6)
    return math.exp(rng.uniform(math.log(SMALLEST_DIGIT), math.log(largest)))


def enlarged(glyph: Image.Image, side: float, rng: np.random.Generator) -> Glyph:
    """The glyph at the given size, slightly turned, cropped to its visible ink."""
    scale = side / (max(glyph.size) - 2)  # the margin does not count
    width, height = (max(2, round(length * scale)) for length in glyph.size)
    picture = glyph.resize((width, height), Image.Resampling.BICUBIC)
    picture = picture.rotate(
        float(rng.uniform(-12, 12)), resample=Image.Resampling.BILINEAR, expand=True
    )
    opacity = (np.asarray(picture, np.float32) / 255 - 0.2).clip(0, 0.5) * 2
    ink = opacity > VISIBLE_INK
    if not ink.any():  # an empty corner of a digit
        return opacity
    x1, y1, x2, y2 = _ink_box(ink)
    return opacity[y1:y2, x1:x2]


def _free_place(glyph: Glyph, size: int, others: list[Box], rng: np.random.Generator) -> Box | None:
    """A box for the glyph that covers no other digit's box by much; None where none was found."""
    height, width = glyph.shape
    for _ in range(20):
        x, y = int(rng.integers(size - width + 1)), int(rng.integers(size - height + 1))
        box = (x, y, x + width, y + height)
        if all(_covered(box, other) <= MAX_COVERED for other in others):
            return box
    return None


def _covered(one: Box, other: Box) -> float:
    """Intersection over the smaller box's area."""
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    areas = [(x2 - x1) * (y2 - y1) for x1, y1, x2, y2 in (one, other)]
    return max(width, 0) * max(height, 0) / min(areas)


def ink_colour(canvas: Canvas, box: Box, rng: np.random.Generator) -> NDArray[np.float32]:
    """(3,) lighter or darker than what lies below, tinted at random."""
    x1, y1, x2, y2 = box
    below = float(canvas[y1:y2, x1:x2].mean())
    room_above = rng.random() < (1 - below)  # dark ground gets light ink more often
    contrast = rng.uniform(0.35, 0.7) * (1 if room_above else -1)
    if not 0 <= below + contrast <= 1:
        contrast = -contrast
    tint = rng.uniform(-0.12, 0.12, 3)
    return (below + contrast + tint).clip(0, 1).astype(np.float32)


def paint(canvas: Canvas, opacity: Glyph, box: Box, colour: NDArray[np.float32]) -> None:
    x1, y1, x2, y2 = box
    region, cover = canvas[y1:y2, x1:x2], opacity[..., None]
    region += (colour - region) * cover
