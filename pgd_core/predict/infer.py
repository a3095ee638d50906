"""Boxes in a picture, by an exported detector: `python infer.py PICTURE [student-nms.onnx]`.

Needs onnxruntime, numpy and Pillow. The file of the detector knows how pictures are prepared and
what its classes are called.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from PIL import Image, ImageDraw, ImageOps

Found = tuple[list[float], float, str]  # box XYXY in the picture's pixels, score, class


def detect(session: onnxruntime.InferenceSession, picture: Image.Image) -> list[Found]:
    """What the detector finds in an RGB picture, best first."""
    known = session.get_modelmeta().custom_metadata_map
    how, classes = json.loads(known["preprocessing"]), json.loads(known["classes"])
    scale = min(how["long_side"] / max(picture.size), how["short_side"] / min(picture.size))
    width, height = (max(1, int(side * scale + 0.5)) for side in picture.size)
    x_step, y_step = picture.width / width, picture.height / height
    resized = picture.transform(  # bilinear between neighbours, as OpenCV resizes
        (width, height),
        Image.Transform.AFFINE,
        (x_step, 0, 0, 0, y_step, 0),
        Image.Resampling.BILINEAR,
    )
    mean, std = (np.array(how[name], np.float32) for name in ("mean", "std"))
    pixels = (np.asarray(resized, np.float32) - mean) / std
    below, right = (-side % how["size_divisor"] for side in (height, width))
    images = np.pad(pixels, ((0, below), (0, right), (0, 0))).transpose(2, 0, 1)[None]
    inputs = {"images": images, "image_sizes": np.array([[height, width]])}
    boxes, scores, labels, counts = session.run(["boxes", "scores", "labels", "counts"], inputs)
    boxes = boxes * np.array([x_step, y_step, x_step, y_step], np.float32)
    rows = zip(boxes[0], scores[0], labels[0], strict=True)
    found = [(box.tolist(), float(score), str(classes[label])) for box, score, label in rows]
    return found[: int(counts[0])]


def draw(picture: Image.Image, found: list[Found]) -> None:
    """Paint the boxes, their classes and scores into the picture."""
    pen = ImageDraw.Draw(picture)
    for box, score, name in found:
        pen.rectangle(box, outline="red", width=2)
        pen.text((box[0] + 3, box[1] + 1), f"{name} {score:.2f}", fill="red")


def main(path: str, model: str = str(Path(__file__).with_name("student-nms.onnx"))) -> None:
    """Print what is found, and write the picture with the boxes of at least 0.3 beside it."""
    picture: Any = ImageOps.exif_transpose(Image.open(path)).convert("RGB")
    found = detect(onnxruntime.InferenceSession(model), picture)
    for box, score, name in found:
        print(f"{score:.3f}  {name}  {[round(side, 1) for side in box]}")  # noqa: T201
    draw(picture, [each for each in found if each[1] >= 0.3])
    picture.save(Path(path).with_suffix(".found.png"))


if __name__ == "__main__":
    main(*sys.argv[1:])
