"""COCO's average precision and recall of boxes, by pycocotools.

AP is the mean of precision at 101 recall levels, over IoU 0.50:0.05:0.95 unless a threshold is
named, over the classes that have objects, with at most 100 detections an image and class. AR is
the recall reached with at most 1, 10 or 100 detections an image and class, over the same IoUs.
Small is under 32², medium 32² to 96², large above 96² square pixels of the annotation's `area`.
"""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from pgd_core.evaluation.detections import Detections

IOU_50, IOU_75 = 0, 5  # positions in 0.50:0.05:0.95
ALL_SIZES, SMALL, MEDIUM, LARGE = range(4)  # positions in COCOeval's area ranges
MOST_1, MOST_10, MOST_100 = range(3)  # positions in its caps on detections


@dataclass(frozen=True)
class CocoMetrics:
    """Percent, 0 to 100; None where the annotations hold no such objects."""

    ap: float | None
    ap50: float | None
    ap75: float | None
    ap_small: float | None
    ap_medium: float | None
    ap_large: float | None
    ar1: float | None
    ar10: float | None
    ar100: float | None
    ar_small: float | None
    ar_medium: float | None
    ar_large: float | None
    ap_per_class: Mapping[str, float | None]  # by class name, in category-id order


def coco_metrics(annotations: Path, detections: Sequence[Detections]) -> CocoMetrics:
    """The twelve COCO numbers and each class's AP, over every image of the annotation file.

    An image without a `Detections` counts as one where nothing was found. Raises
    TrainingDiverged where a box or score is not finite.
    """
    content = json.loads(annotations.read_text(encoding="utf-8"))
    _refuse_strangers(content, detections)
    evaluation = _evaluated(content, detections)
    precision = evaluation.eval["precision"]  # (IoU 10, recall 101, class K, size 4, cap 3)
    recall = evaluation.eval["recall"]  # (IoU 10, class K, size 4, cap 3)

    def average_precision(iou: int | slice = slice(None), size: int = ALL_SIZES) -> float | None:
        return _percent(precision[iou, :, :, size, MOST_100])

    def average_recall(cap: int = MOST_100, size: int = ALL_SIZES) -> float | None:
        return _percent(recall[:, :, size, cap])

    names = {category["id"]: category["name"] for category in content["categories"]}
    per_class = {
        names[category_id]: _percent(precision[:, :, index, ALL_SIZES, MOST_100])
        for index, category_id in enumerate(evaluation.params.catIds)
    }
    return CocoMetrics(
        ap=average_precision(),
        ap50=average_precision(IOU_50),
        ap75=average_precision(IOU_75),
        ap_small=average_precision(size=SMALL),
        ap_medium=average_precision(size=MEDIUM),
        ap_large=average_precision(size=LARGE),
        ar1=average_recall(MOST_1),
        ar10=average_recall(MOST_10),
        ar100=average_recall(MOST_100),
        ar_small=average_recall(size=SMALL),
        ar_medium=average_recall(size=MEDIUM),
        ar_large=average_recall(size=LARGE),
        ap_per_class=per_class,
    )


def _refuse_strangers(content: dict[str, Any], detections: Sequence[Detections]) -> None:
    """Ids that the annotation file does not know are our own mistake; NaN is the model's."""
    image_ids = {image["id"] for image in content["images"]}
    category_ids = {category["id"] for category in content["categories"]}
    found = [each.image_id for each in detections]
    assert len(set(found)) == len(found), "two Detections for one image"
    for each in detections:
        assert each.image_id in image_ids, f"image {each.image_id} is not in the annotations"
        strangers = set(each.category_ids.tolist()) - category_ids
        assert not strangers, f"categories {strangers} are not in the annotations"
        each.refuse_broken_numbers()


def _evaluated(content: dict[str, Any], detections: Sequence[Detections]) -> COCOeval:
    with contextlib.redirect_stdout(io.StringIO()):  # pycocotools reports by print
        truth = _indexed(content, _truth_rows(content["annotations"]))
        found = _indexed(content, _detection_rows(detections))
        evaluation = COCOeval(truth, found, "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
    return evaluation


def _indexed(content: dict[str, Any], rows: list[dict[str, Any]]) -> COCO:
    """Departure from `COCO.loadRes`: it crashes when there are no detections."""
    coco = COCO()
    coco.dataset = {
        "images": content["images"],
        "categories": content["categories"],
        "annotations": rows,
    }
    coco.createIndex()
    return coco


def _truth_rows(annotations: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """pycocotools wants `iscrowd` and `area`, which many box-only data sets leave out."""
    return [
        {
            "id": row["id"],
            "image_id": row["image_id"],
            "category_id": row["category_id"],
            "bbox": row["bbox"],
            "area": row.get("area") or row["bbox"][2] * row["bbox"][3],
            "iscrowd": row.get("iscrowd", 0),
        }
        for row in annotations
    ]


def _detection_rows(detections: Sequence[Detections]) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for each in detections:
        for (x1, y1, x2, y2), score, category_id in zip(
            each.boxes.tolist(), each.scores.tolist(), each.category_ids.tolist(), strict=True
        ):
            rows.append(
                {
                    "id": len(rows) + 1,
                    "image_id": each.image_id,
                    "category_id": category_id,
                    "bbox": [x1, y1, x2 - x1, y2 - y1],
                    "area": (x2 - x1) * (y2 - y1),
                    "score": score,
                    "iscrowd": 0,
                }
            )
    return rows


def _percent(values: NDArray[np.float64]) -> float | None:
    """The mean of what is defined; pycocotools marks the undefined with -1."""
    defined = values[values > -1]
    return round(100 * float(defined.mean()), 4) if defined.size else None
