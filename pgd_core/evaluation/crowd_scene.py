"""One picture of a crowd as CrowdHuman's metrics see it: rounded, clipped, every overlap known.

Letters: D detections, P persons, R ignore regions of the picture.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

OVERLAPS_FROM = 0.5  # of IoU and of IoA; strictly above
TINY_AREA = 1e-6  # square pixels, added to every area that is divided by

Boxes = NDArray[np.float64]  # (n, 4)
Flags = NDArray[np.bool_]


@dataclass(frozen=True)
class CrowdScene:
    """What is in a picture and what a detector found in it."""

    width: int  # pixels
    height: int
    persons: Boxes  # (P, 4)  XYWH, pixels; may leave the picture, may be empty
    ignored: Boxes  # (R, 4)  XYWH, pixels
    found: Boxes  # (D, 4)  XYWH, pixels
    scores: NDArray[Any]  # (D,)


@dataclass(frozen=True)
class Overlaps:
    """The scene's detections, best first, and what each of them and each person lies on."""

    scores: NDArray[np.float64]  # (D,)  descending
    ious: NDArray[np.float64]  # (D, P)
    found_ignored: Flags  # (D,)  more than half of it lies on one ignore region
    persons_ignored: Flags  # (P,)  the same
    persons_stated: Flags  # (P,)  both sides are above 0 in the annotations

    @classmethod
    def of(cls, scene: CrowdScene) -> Overlaps:
        """Detections are rounded as their file format does: 0.1 pixel, 0.00001 of score."""
        scores = np.asarray(np.round(scene.scores, 5), np.float64)
        order = np.argsort(-scores, kind="stable")
        found = _clipped(np.round(scene.found[order], 1), scene)
        persons, ignored = _clipped(scene.persons, scene), _clipped(scene.ignored, scene)
        return cls(
            scores=scores[order],
            ious=_ious(found, persons),
            found_ignored=_lies_on_one_of(found, ignored),
            persons_ignored=_lies_on_one_of(persons, ignored),
            persons_stated=np.logical_and(scene.persons[:, 2] > 0, scene.persons[:, 3] > 0),
        )


def _clipped(
    boxes: Boxes,  # (n, 4)  XYWH, pixels
    scene: CrowdScene,
) -> Boxes:  # (n, 4)  XYXY, pixels
    """The first corner stays in the last pixel, the second may lie on the far edge."""
    first, far = boxes[:, :2], np.array([scene.width, scene.height], np.float64)
    with np.errstate(over="ignore"):  # a hostile box ends at the edge like any other
        second = first + boxes[:, 2:]
    return np.concatenate([first.clip(0, far - 1), second.clip(0, far)], axis=1)


def _ious(one: Boxes, other: Boxes) -> NDArray[np.float64]:  # (D, P)
    """Intersection over union; exactly 0 where nothing is shared, whatever the areas are."""
    shared = _shared(one, other)
    union = _areas(one)[:, None] + _areas(other) - shared + TINY_AREA
    return np.divide(shared, union, out=np.zeros_like(shared), where=shared > 0)


def _lies_on_one_of(boxes: Boxes, regions: Boxes) -> Flags:  # (n,)
    """Whether the part of a box's own area that one region covers is above the threshold."""
    shared = _shared(boxes, regions)
    own = np.broadcast_to(_areas(boxes)[:, None] + TINY_AREA, shared.shape)
    parts = np.divide(shared, own, out=np.zeros_like(shared), where=shared > 0)
    return np.asarray((parts > OVERLAPS_FROM).any(axis=1), np.bool_)


def _shared(one: Boxes, other: Boxes) -> NDArray[np.float64]:  # (n, m)  square pixels
    first = np.maximum(one[:, None, :2], other[None, :, :2])
    second = np.minimum(one[:, None, 2:], other[None, :, 2:])
    return np.asarray((second - first).clip(0).prod(axis=2), np.float64)


def _areas(boxes: Boxes) -> NDArray[np.float64]:  # (n,)  square pixels
    return np.asarray((boxes[:, 2:] - boxes[:, :2]).prod(axis=1), np.float64)
