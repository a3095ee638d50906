"""Boxes, regions and label assignment a second time, with Python's numbers and loops."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import accumulate

from pgd_core.distill import GroundTruth, TeacherPredictions

Box = list[float]


def positions_of(truth: GroundTruth) -> Iterator[tuple[int, int, Box]]:
    """Image, object and box of every object that is there."""
    for n, boxes in enumerate(truth.boxes.tolist()):
        for g, box in enumerate(boxes):
            if truth.valid[n, g]:
                yield n, g, box


def iou_of(box: Box, other: Box) -> float:
    width = max(0.0, min(box[2], other[2]) - max(box[0], other[0]))
    height = max(0.0, min(box[3], other[3]) - max(box[1], other[1]))
    areas = [(b[2] - b[0]) * (b[3] - b[1]) for b in (box, other)]
    return width * height / (sum(areas) - width * height)


def diou_of(box: Box, other: Box) -> float:
    distance = math.dist(centre_of(box), centre_of(other))
    width = max(box[2], other[2]) - min(box[0], other[0])
    height = max(box[3], other[3]) - min(box[1], other[1])
    return iou_of(box, other) - (distance / math.hypot(width, height)) ** 2


def centre_of(box: Box) -> tuple[float, float]:
    return (box[0] + box[2]) / 2, (box[1] + box[3]) / 2


def is_on_image(predictions: TeacherPredictions, truth: GroundTruth, n: int, a: int) -> bool:
    x, y = predictions.points[a].tolist()
    height, width = truth.image_sizes[n].tolist()
    return bool(x < width and y < height)


def is_usable(predictions: TeacherPredictions, truth: GroundTruth, n: int, a: int) -> bool:
    """On the image and in no ignore region."""
    x, y = predictions.points[a].tolist()
    regions = truth.ignored_boxes[n].tolist()
    in_region = any(b[0] < x < b[2] and b[1] < y < b[3] for b in regions)
    return is_on_image(predictions, truth, n, a) and not in_region


def region_of(predictions: TeacherPredictions, truth: GroundTruth) -> set[tuple[int, int]]:
    """Image and position of the fine-grained region with half of the best IoU."""
    assert predictions.anchors is not None
    anchors = predictions.anchors.tolist()
    found = set()
    for n, _, box in positions_of(truth):
        ious = [iou_of(box, anchor) for anchor in anchors]
        near = {(n, a) for a, iou in enumerate(ious) if iou > 0.5 * max(ious)}
        found |= {(n, a) for n, a in near if is_usable(predictions, truth, n, a)}
    return found


def assignment_of(
    predictions: TeacherPredictions, truth: GroundTruth, per_level: int
) -> tuple[set[tuple[int, int]], dict[tuple[int, int], float]]:
    """ATSS: image and position of the positives, and each object's threshold."""
    assert predictions.anchors is not None
    anchors = predictions.anchors.tolist()
    areas = [height * width for height, width in predictions.level_sizes]
    positives, thresholds = set(), {}
    for n, g, box in positions_of(truth):
        candidates: list[int] = []
        for start, area in zip(accumulate(areas, initial=0), areas, strict=False):
            of_level = [
                a for a in range(start, start + area) if is_on_image(predictions, truth, n, a)
            ]
            of_level.sort(key=lambda a: math.dist(centre_of(anchors[a]), centre_of(box)))
            candidates += of_level[:per_level]
        ious = [iou_of(box, anchors[a]) for a in candidates]
        if not ious:
            continue
        mean = sum(ious) / len(ious)
        variance = sum((iou - mean) ** 2 for iou in ious) / max(1, len(ious) - 1)
        thresholds[n, g] = mean + math.sqrt(variance)
        for a, iou in zip(candidates, ious, strict=True):
            x, y = centre_of(anchors[a])
            margin = min(x - box[0], y - box[1], box[2] - x, box[3] - y)
            if iou >= thresholds[n, g] and margin > 0.01:
                positives.add((n, a))
    return positives, thresholds
