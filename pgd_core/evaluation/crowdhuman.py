"""CrowdHuman's metrics of person boxes: AP, MR^-2 (log-average miss rate) and JI (Jaccard index).

AP and MR walk down the detections of all pictures by score. Within a picture each takes the free
person of highest IoU above 0.5; one that finds none and lies by more than half on an ignore region
does not count; any other is a false alarm. AP is the raw trapezoid under precision over recall,
between the first detection and the last: no envelope, and nothing before the first. MR is the
geometric mean of the miss rate where the false alarms a picture reach nine values from 0.01 to 1.
JI pairs detections and persons anew in each picture, so that the sum of IoUs is highest, and is the
mean of pairs over (persons + detections - pairs), at the best of ten score thresholds.

Departure: MMDetection's CrowdHumanMetric pairs as many as it can, whatever their IoU, and rounds
nothing; its JI differs. A person whose box has no area counts in AP and MR and not in JI, as where
the former are read from the odgt file and the latter from a COCO copy of it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from pgd_core.datasets.odgt import file_name_of, read_odgt
from pgd_core.evaluation.crowd_scene import OVERLAPS_FROM, TINY_AREA, CrowdScene, Overlaps
from pgd_core.evaluation.detections import Detections

FALSE_ALARMS = (0.0100, 0.0178, 0.0316, 0.0562, 0.1000, 0.1778, 0.3162, 0.5623, 1.0000)
MIN_SCORES = tuple(step / 10 for step in range(10))

Reals = NDArray[np.float64]


@dataclass(frozen=True)
class CrowdHumanMetrics:
    """Percent, 0 to 100; lower is better for `mr`. None where there are no persons to find."""

    ap: float | None
    mr: float | None
    ji: float | None


def crowdhuman_metrics(
    odgt: Path,
    annotations: Path,  # COCO JSON made from it: picture sizes, and the ids of the detections
    detections: Sequence[Detections],
) -> CrowdHumanMetrics:
    """The three numbers over every picture of the file; one without `Detections` had none.

    Raises TrainingDiverged where a box or score is not finite.
    """
    found = {each.image_id: each for each in detections}
    assert len(found) == len(detections), "two Detections for one image"
    for each in detections:
        each.refuse_broken_numbers()
    images = {row["file_name"]: row for row in json.loads(annotations.read_text("utf-8"))["images"]}
    rows = [(images[file_name_of(row.id)], row) for row in read_odgt(odgt)]
    strangers = found.keys() - {image["id"] for image, _ in rows}
    assert not strangers, f"images {strangers} are not in the annotations"
    return measured(
        CrowdScene(
            image["width"],
            image["height"],
            persons=_boxes(row.persons),
            ignored=_boxes(row.ignored),
            found=_found_boxes(found.get(image["id"])),
            scores=found[image["id"]].scores if image["id"] in found else np.zeros(0),
        )
        for image, row in rows
    )


def _boxes(rows: Sequence[tuple[float, ...]]) -> Reals:  # (n, 4)
    return np.array(rows, np.float64).reshape(-1, 4)


def _found_boxes(found: Detections | None) -> Reals:  # (D, 4)  XYWH, pixels
    if found is None:
        return np.zeros((0, 4))
    boxes = np.asarray(found.boxes, np.float64)
    return np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], axis=1)


def measured(scenes: Iterable[CrowdScene]) -> CrowdHumanMetrics:
    """The metrics of any number of pictures, read one at a time."""
    pictures = persons = 0
    scores, hits, ratios = [np.zeros(0)], [np.zeros(0, bool)], []
    for scene in scenes:
        overlaps = Overlaps.of(scene)
        pictures, persons = pictures + 1, persons + len(scene.persons)
        counted, right = _judged(overlaps)
        scores.append(counted)
        hits.append(right)
        ratios.append(_jaccard_ratios(overlaps))
    if not persons:
        return CrowdHumanMetrics(None, None, None)
    order = np.argsort(-np.concatenate(scores), kind="stable")
    right = np.concatenate(hits)[order]
    recall, false_alarms = np.cumsum(right) / persons, np.cumsum(~right)
    precision = np.cumsum(right) / np.arange(1, len(right) + 1)
    return CrowdHumanMetrics(
        ap=100 * _average_precision(recall, precision),
        mr=100 * _miss_rate(recall, false_alarms / pictures),
        ji=_best_mean(np.array(ratios)),
    )


def _judged(overlaps: Overlaps) -> tuple[Reals, NDArray[np.bool_]]:  # (E,), (E,)
    """Scores of the detections that count, and which of them found a person."""
    hits = np.zeros(len(overlaps.scores), bool)
    ious = overlaps.ious.copy()
    for detection in np.flatnonzero((ious > OVERLAPS_FROM).any(axis=1)):  # best score first
        person = int(ious[detection].argmax())
        if ious[detection, person] > OVERLAPS_FROM:
            hits[detection] = True
            ious[:, person] = 0  # taken
    counted = hits | ~overlaps.found_ignored
    return overlaps.scores[counted], hits[counted]


def _average_precision(recall: Reals, precision: Reals) -> float:  # (E,), (E,)
    return float((np.diff(recall) * (precision[1:] + precision[:-1]) / 2).sum())


def _miss_rate(recall: Reals, false_alarms: Reals) -> float:  # (E,), (E,) of a picture, ascending
    if not len(recall):
        return 1.0
    first = np.searchsorted(false_alarms, FALSE_ALARMS).clip(max=len(recall) - 1)
    with np.errstate(divide="ignore"):  # nothing missed: ln 0, and a mean of 0
        return float(np.exp(np.log(1 - recall[first]).mean()))


def _jaccard_ratios(overlaps: Overlaps) -> Reals:  # (thresholds,)
    """Of one picture at each threshold; NaN where it holds nothing and nothing is found in it."""
    stated = overlaps.persons_stated
    ious, persons_ignored = overlaps.ious[:, stated], overlaps.persons_ignored[stated]
    ratios = np.full(len(MIN_SCORES), np.nan)
    for index, min_score in enumerate(MIN_SCORES):
        kept = int((overlaps.scores > min_score).sum())
        found, persons = _paired(ious[:kept])
        pairs = int(found.sum())
        m = len(persons) - int((~persons & persons_ignored).sum())
        n = kept - int((~found & overlaps.found_ignored[:kept]).sum())
        if m or n:
            ratios[index] = pairs / (m + n - pairs + TINY_AREA)
    return ratios


def _paired(
    ious: Reals,  # (D, P)
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:  # (D,), (P,)
    """Which detections and which persons have a partner, where the pairs' IoUs sum highest."""
    found, persons = (np.zeros(count, bool) for count in ious.shape)
    weights = np.where(ious > OVERLAPS_FROM, ious, 0)
    rows, columns = np.flatnonzero(weights.any(axis=1)), np.flatnonzero(weights.any(axis=0))
    weights = weights[np.ix_(rows, columns)]
    chosen = linear_sum_assignment(weights, maximize=True)
    real = weights[chosen] > 0  # the assignment fills up with pairs that share nothing
    found[rows[chosen[0][real]]] = True
    persons[columns[chosen[1][real]]] = True
    return found, persons


def _best_mean(ratios: Reals) -> float | None:  # (pictures, thresholds)
    counts = ~np.isnan(ratios)
    totals = np.where(counts, ratios, 0).sum(axis=0)
    means = [
        float(total / count)
        for total, count in zip(totals, counts.sum(axis=0), strict=True)
        if count
    ]
    return 100 * max(means) if means else None
