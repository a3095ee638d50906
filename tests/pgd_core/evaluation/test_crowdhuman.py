from __future__ import annotations

import itertools
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.optimize import linear_sum_assignment

from pgd_core.errors import TrainingDiverged
from pgd_core.evaluation.crowd_scene import CrowdScene
from pgd_core.evaluation.crowdhuman import CrowdHumanMetrics, crowdhuman_metrics, measured
from pgd_core.evaluation.detections import Detections

WIDTH, HEIGHT = 200, 150
Row = tuple[float, float, float, float]  # XYWH

A: Row = (10, 10, 20, 40)
B: Row = (60, 10, 20, 40)
C: Row = (110, 10, 20, 40)
NOWHERE: Row = (150, 100, 20, 30)


def _scene(
    persons: list[Row], found: list[tuple[Row, float]], ignored: list[Row] | None = None
) -> CrowdScene:
    return CrowdScene(
        WIDTH,
        HEIGHT,
        persons=np.array(persons, float).reshape(-1, 4),
        ignored=np.array(ignored or [], float).reshape(-1, 4),
        found=np.array([box for box, _ in found], float).reshape(-1, 4),
        scores=np.array([score for _, score in found], float),
    )


# ---- by hand


def test_finding_everything_misses_nothing_and_the_trapezoid_starts_at_the_first_detection() -> (
    None
):
    metrics = measured([_scene([A, B, C], [(A, 0.9), (B, 0.8), (C, 0.7)])])
    assert metrics.ap == pytest.approx(100 * 2 / 3)  # from recall 1/3 to 1, all at precision 1
    assert metrics.mr == 0
    assert metrics.ji == pytest.approx(100, abs=1e-4)


def test_finding_nothing_misses_everything() -> None:
    metrics = measured([_scene([A], []), _scene([B, C], [])])
    assert metrics == CrowdHumanMetrics(ap=0, mr=100, ji=0)


def test_no_persons_to_find_gives_none() -> None:
    assert measured([_scene([], [(A, 0.9)]), _scene([], [])]) == CrowdHumanMetrics(None, None, None)
    assert measured([]) == CrowdHumanMetrics(None, None, None)


def test_a_false_alarm_between_two_hits_by_hand() -> None:
    metrics = measured([_scene([A, B], [(A, 0.9), (NOWHERE, 0.8), (B, 0.7)])])
    # recall ½ ½ 1, precision 1 ½ ⅔: only the last step moves right
    assert metrics.ap == pytest.approx(100 * 0.5 * (1 / 2 + 2 / 3) / 2)
    # false alarms a picture 0 1 1: every reference is first reached at the second, which misses ½
    assert metrics.mr == pytest.approx(50)
    assert metrics.ji == pytest.approx(100 * 2 / 3, abs=1e-4)  # above 0.6 and below: 2 of 3


def test_a_miss_rate_of_false_alarms_never_reached_is_the_last() -> None:
    # 5 pictures, one false alarm: 0.2 a picture, so 0.3162 to 1 are never reached
    scenes = [_scene([A], [(A, 0.9)])] + [_scene([A], []) for _ in range(3)]
    scenes.append(_scene([A], [(NOWHERE, 0.5), (A, 0.4)]))
    missed = [0.8] * 6 + [0.6] * 3  # at the false alarm (1 of 5 found), and at the end (2 of 5)
    expected = math.exp(sum(map(math.log, missed)) / 9)
    assert measured(scenes).mr == pytest.approx(100 * expected)


def test_a_detection_on_an_ignore_region_is_dropped_unless_it_finds_a_person() -> None:
    region: Row = (100, 0, 100, 150)
    scene = _scene([A, C], [(NOWHERE, 0.95), (A, 0.9), (C, 0.8)], [region])
    metrics = measured([scene])
    assert metrics.mr == 0
    assert metrics.ap == pytest.approx(50)
    assert metrics.ji == pytest.approx(100, abs=1e-4)  # NOWHERE leaves n


def test_a_missed_person_on_an_ignore_region_counts_in_ap_and_not_in_ji() -> None:
    metrics = measured([_scene([A, C], [(A, 0.9)], [(100, 0, 100, 150)])])
    assert metrics.mr == pytest.approx(50)
    assert metrics.ji == pytest.approx(100, abs=1e-4)


def test_half_on_an_ignore_region_is_not_enough() -> None:
    half: Row = (150, 100, 10, 30)
    metrics = measured([_scene([A], [(NOWHERE, 0.9), (A, 0.8)], [half])])
    assert metrics.mr == pytest.approx(100)  # the false alarm comes first
    more = measured([_scene([A], [(NOWHERE, 0.9), (A, 0.8)], [(150, 100, 10.5, 30)])])
    assert more.mr == 0


def test_several_ignore_regions_do_not_add_up() -> None:
    thirds: list[Row] = [(150, 100, 8, 30), (158, 100, 8, 30)]
    assert measured([_scene([A], [(NOWHERE, 0.9), (A, 0.8)], thirds)]).mr == pytest.approx(100)


def test_a_second_detection_of_a_person_is_a_false_alarm() -> None:
    metrics = measured([_scene([A, B], [(A, 0.9), (A, 0.8), (B, 0.7)])])
    assert metrics.mr == pytest.approx(50)
    assert metrics.ji == pytest.approx(100 * 2 / 3, abs=1e-4)


def test_a_detection_takes_the_free_person_of_highest_overlap() -> None:
    near: Row = (14, 10, 20, 40)  # IoU ⅔ with A
    scene = _scene([near, A], [(A, 0.9), (A, 0.8)])
    assert measured([scene]).mr == 0  # the first takes A, the second what is left


def test_an_overlap_of_exactly_half_is_none() -> None:
    half: Row = (10, 10, 10, 40)
    assert measured([_scene([A], [(half, 0.9)])]).mr == pytest.approx(100)
    assert measured([_scene([A], [((10, 10, 10.1, 40), 0.9)])]).mr == 0


def test_ji_pairs_by_weight_and_not_by_number() -> None:
    """Five intervals in a row, found and true by turns: three pairs of IoU 0.53 would be more
    pairs, two of 0.94 weigh more."""
    start = [0, 31, 34, 65, 68, 99]
    boxes: list[Row] = [(x, 0, 100, 100) for x in start]
    found = [(boxes[index], 0.95) for index in (0, 2, 4)]
    metrics = measured([_scene([boxes[1], boxes[3], boxes[5]], found)])
    assert metrics.ji == pytest.approx(100 * 2 / (3 + 3 - 2), abs=1e-4)  # and not 3 of 3


def test_ji_is_the_best_over_thresholds_that_a_score_must_exceed() -> None:
    scene = _scene([A, B], [(A, 0.9), (B, 0.5), (NOWHERE, 0.3), (C, 0.3)])
    assert measured([scene]).ji == pytest.approx(100, abs=1e-4)  # above 0.3 or 0.4, both found
    low = _scene([A], [(A, 0.000004)])  # rounds to a score of 0, above no threshold
    assert measured([low]).ji == 0


def test_ji_leaves_out_pictures_with_nothing_and_counts_those_with_false_alarms() -> None:
    right = _scene([A], [(A, 0.95)])
    empty, alarmed = _scene([], []), _scene([], [(NOWHERE, 0.95)])
    assert measured([right, empty]).ji == pytest.approx(100, abs=1e-4)
    assert measured([right, alarmed]).ji == pytest.approx(50, abs=1e-4)


def test_a_person_without_area_counts_in_mr_and_not_in_ji() -> None:
    for box in ((5, 5, 0, 30), (5, 5, 30, -2)):
        metrics = measured([_scene([A, box], [(A, 0.9)])])
        assert metrics.mr == pytest.approx(50)
        assert metrics.ji == pytest.approx(100, abs=1e-4)


def test_a_data_set_of_persons_without_area_has_no_ji() -> None:
    assert measured([_scene([(5, 5, 0, 0)], [])]) == CrowdHumanMetrics(0, 100, None)


def test_boxes_are_clipped_before_they_are_compared() -> None:
    wide: Row = (-300, 10, 320, 40)  # 20 of it in the picture
    assert measured([_scene([wide], [((0, 10, 20, 40), 0.9)])]).mr == 0
    huge: Row = (-1e308, -1e308, 1.7e308, 1.7e308)
    assert measured([_scene([huge], [((0, 0, 200, 150), 0.9)])]).mr == 0


def test_boxes_are_rounded_to_a_tenth_of_a_pixel_and_scores_to_five_digits() -> None:
    person: Row = (10, 10, 10, 10)
    assert measured([_scene([person], [((10, 10, 5.04, 10), 0.9)])]).mr == pytest.approx(100)
    assert measured([_scene([person], [((10, 10, 5.06, 10), 0.9)])]).mr == 0
    # equal scores after rounding keep their order: the false alarm stays first
    tie = _scene([A], [(NOWHERE, 0.500001), (A, 0.500004)])
    assert measured([tie]).mr == pytest.approx(100)


def test_equal_scores_of_two_pictures_keep_the_order_of_the_pictures() -> None:
    hits, alarm = _scene([A, B], [(A, 0.9), (B, 0.9)]), _scene([], [(A, 0.9)])
    assert measured([hits, alarm]).ap == pytest.approx(100 * 0.5)
    assert measured([alarm, hits]).ap == pytest.approx(100 * (0.5 / 4 + 0.5 * 7 / 12))


# ---- against plain loops


def _iou(one: Any, other: Any, over_first: bool = False) -> float:
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    shared = max(width, 0) * max(height, 0)
    areas = [(x2 - x1) * (y2 - y1) for x1, y1, x2, y2 in (one, other)]
    return shared / ((areas[0] if over_first else sum(areas) - shared) + 1e-6) if shared else 0.0


def _clip(box: Any) -> tuple[float, ...]:
    x, y, w, h = (float(side) for side in box)
    return (
        min(max(x, 0), WIDTH - 1),
        min(max(y, 0), HEIGHT - 1),
        min(max(x + w, 0), WIDTH),
        min(max(y + h, 0), HEIGHT),
    )


def _plain(scenes: list[CrowdScene]) -> tuple[float, float, float]:
    pooled: list[tuple[float, bool]] = []
    total = sum(len(scene.persons) for scene in scenes)
    ratios: dict[int, list[float]] = {step: [] for step in range(10)}
    for scene in scenes:
        found = [
            (_clip([round(float(side), 1) for side in box]), round(float(score), 5))
            for box, score in zip(scene.found, scene.scores, strict=True)
        ]
        found.sort(key=lambda each: -each[1])
        persons, ignored = [_clip(b) for b in scene.persons], [_clip(b) for b in scene.ignored]
        free = set(range(len(persons)))
        for box, score in found:
            best = max(sorted(free), key=lambda p: _iou(box, persons[p]), default=None)
            if best is not None and _iou(box, persons[best]) > 0.5:
                free.remove(best)
                pooled.append((score, True))
            elif not any(_iou(box, region, True) > 0.5 for region in ignored):
                pooled.append((score, False))
        real = [_clip(b) for b in scene.persons if b[2] > 0 and b[3] > 0]
        for step in range(10):
            ratio = _plain_ratio([box for box, s in found if s > step / 10], real, ignored)
            if ratio is not None:
                ratios[step].append(ratio)
    pooled.sort(key=lambda each: -each[0])
    recall, precision, alarms, hits = [], [], [], 0
    for index, (_, hit) in enumerate(pooled, 1):
        hits += hit
        recall.append(hits / total)
        precision.append(hits / index)
        alarms.append((index - hits) / len(scenes))
    ap = sum(
        (recall[i] - recall[i - 1]) * (precision[i] + precision[i - 1]) / 2
        for i in range(1, len(pooled))
    )
    logs = []
    for reference in (0.01, 0.0178, 0.0316, 0.0562, 0.1, 0.1778, 0.3162, 0.5623, 1.0):
        reached = [i for i, alarm in enumerate(alarms) if alarm >= reference]
        logs.append(math.log(1 - recall[reached[0] if reached else -1]))
    ji = max(sum(values) / len(values) for values in ratios.values() if values)
    return 100 * ap, 100 * math.exp(sum(logs) / 9), 100 * ji


def _plain_ratio(found: list[Any], persons: list[Any], ignored: list[Any]) -> float | None:
    ious = [[iou if (iou := _iou(f, p)) > 0.5 else 0.0 for p in persons] for f in found]
    pairs = []
    if found and persons:
        rows, columns = linear_sum_assignment(ious, maximize=True)
        pairs = [(r, c) for r, c in zip(rows, columns, strict=True) if ious[r][c] > 0]

    def on_ignored(box: Any) -> bool:
        return any(_iou(box, region, True) > 0.5 for region in ignored)

    k = len(pairs)
    n = k + sum(not on_ignored(f) for i, f in enumerate(found) if i not in {r for r, _ in pairs})
    m = k + sum(not on_ignored(p) for i, p in enumerate(persons) if i not in {c for _, c in pairs})
    return k / (m + n - k + 1e-6) if m or n else None


def _random_scene(rng: np.random.Generator) -> CrowdScene:
    def boxes(count: int) -> np.ndarray:
        corners = rng.uniform([-20, -20], [WIDTH, HEIGHT], (count, 2))
        return np.concatenate([corners, rng.uniform(5, 60, (count, 2))], axis=1)

    persons = boxes(int(rng.integers(0, 9)))
    twins = persons + rng.normal(0, 3, persons.shape)  # a crowd: everyone has a neighbour
    persons = np.concatenate([persons, twins, persons[:1] * [1, 1, 0, 1]])
    ignored = boxes(int(rng.integers(0, 3)))
    near = np.repeat(persons, 2, axis=0) + rng.normal(0, 4, (2 * len(persons), 4))
    found = np.concatenate([near, boxes(int(rng.integers(0, 6)))])
    scores = rng.integers(0, 30, len(found)) / 30 + rng.uniform(0, 3e-5, len(found))  # many ties
    kept = rng.random(len(found)) < 0.8
    return CrowdScene(WIDTH, HEIGHT, persons, ignored, found[kept], scores[kept])


@pytest.mark.parametrize("seed", range(8))
def test_random_crowds_agree_with_plain_loops(seed: int) -> None:
    rng = np.random.default_rng(seed)
    scenes = [_random_scene(rng) for _ in range(12)]
    metrics = measured(scenes)
    assert (metrics.ap, metrics.mr, metrics.ji) == pytest.approx(_plain(scenes), rel=0, abs=1e-9)


def test_pairs_of_highest_weight_agree_with_trying_all_of_them() -> None:
    rng = np.random.default_rng(5)
    for _ in range(60):
        spread = rng.uniform(0, 60, (2, 4))
        persons: list[Row] = [(x, 0.0, 100.0, 100.0) for x in spread[0].round(1)]
        found: list[Row] = [(x, 0.0, 100.0, 100.0) for x in spread[1].round(1)]
        weights = [[_iou(_clip(f), _clip(p)) for p in persons] for f in found]
        kept = [[w if w > 0.5 else 0 for w in row] for row in weights]
        best = max(
            itertools.permutations(range(4)), key=lambda p: sum(kept[i][p[i]] for i in range(4))
        )
        k = sum(kept[i][best[i]] > 0 for i in range(4))
        metrics = measured([_scene(persons, [(box, 0.95) for box in found])])
        assert metrics.ji == pytest.approx(100 * k / (8 - k + 1e-6), rel=0, abs=1e-9)


# ---- from files


def _files(folder: Path) -> tuple[Path, Path]:
    def entry(tag: str, fbox: Row, **extra: int) -> dict[str, Any]:
        return {"tag": tag, "fbox": list(fbox), "extra": extra}

    rows = [
        {"ID": "b", "gtboxes": [entry("person", A), entry("mask", NOWHERE)]},
        {"ID": "a", "gtboxes": [entry("person", B, ignore=0), entry("person", C, ignore=1)]},
        {"ID": "c", "gtboxes": []},
    ]
    odgt, coco = folder / "val.odgt", folder / "val.json"
    odgt.write_text("".join(json.dumps(row) + "\n" for row in rows))
    images = [
        {"id": 10 + index, "file_name": f"{row['ID']}.jpg", "width": WIDTH, "height": HEIGHT}
        for index, row in enumerate(rows)
    ]
    coco.write_text(json.dumps({"images": images}))
    return odgt, coco


def _found(image_id: int, *boxes: Row, score: float = 0.9) -> Detections:
    corners = np.array([(x, y, x + w, y + h) for x, y, w, h in boxes], float).reshape(-1, 4)
    return Detections(image_id, corners, np.full(len(boxes), score), np.ones(len(boxes), dtype=int))


def test_files_and_detections_meet_by_the_pictures_id(tmp_path: Path) -> None:
    found = [_found(11, B, C), _found(10, A, NOWHERE)]
    metrics = crowdhuman_metrics(*_files(tmp_path), found)
    assert metrics.mr == 0
    assert metrics.ap == 50
    assert metrics.ji == pytest.approx(100, abs=1e-4)


def test_pictures_without_an_entry_had_nothing_found_in_them(tmp_path: Path) -> None:
    metrics = crowdhuman_metrics(*_files(tmp_path), [_found(10, A)])
    assert metrics.mr == 50
    assert metrics.ji == pytest.approx(50, abs=1e-3)
    assert crowdhuman_metrics(*_files(tmp_path), []) == CrowdHumanMetrics(0, 100, 0)
    assert crowdhuman_metrics(*_files(tmp_path), [_found(12)]) == CrowdHumanMetrics(0, 100, 0)


def test_a_score_that_is_not_finite_is_a_diverged_model(tmp_path: Path) -> None:
    with pytest.raises(TrainingDiverged, match="image 10"):
        crowdhuman_metrics(*_files(tmp_path), [_found(10, A, score=np.nan)])


def test_a_picture_the_file_does_not_know_is_our_mistake(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="99"):
        crowdhuman_metrics(*_files(tmp_path), [_found(99, A)])
