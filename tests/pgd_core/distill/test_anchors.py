"""Anchors against objects: MMDetection's own assigner, plain loops, and strange batches."""

from __future__ import annotations

import statistics
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from pgd_core.detectors import operators
from pgd_core.distill import GroundTruth, Scene, TeacherPredictions
from pgd_core.distill.anchors import anchors_of, atss_assignment, imitation_region
from pgd_core.errors import InvalidSpec

SIZES, STRIDES = ((8, 10), (4, 5), (2, 3)), (8, 16, 32)


def grid_anchors(sizes=SIZES, strides=STRIDES) -> Tensor:
    """Squares of eight strides about every cell's corner, as the five detectors have them."""
    return torch.tensor(
        [
            [(j - 4) * stride, (i - 4) * stride, (j + 4) * stride, (i + 4) * stride]
            for (height, width), stride in zip(sizes, strides, strict=True)
            for i in range(height)
            for j in range(width)
        ],
        dtype=torch.float64,
    )


def random_truth(seed: int, images: int = 3, objects: int = 5) -> GroundTruth:
    generator = torch.Generator().manual_seed(seed)
    boxes = []
    for image in range(images):
        corner = torch.rand(max(0, objects - image), 2, generator=generator) * 50
        size = 4 + torch.rand(len(corner), 2, generator=generator) * 60
        boxes.append(torch.cat([corner, corner + size], dim=1))
    labels = [torch.zeros(len(of_image)) for of_image in boxes]
    none = [torch.zeros(0, 4)] * images
    truth = GroundTruth.from_lists(boxes, labels, none, [(64, 80)] * images, "cpu")
    return replace(truth, boxes=truth.boxes.double())


def iou(a: list[float], b: list[float]) -> float:
    width = max(0.0, min(a[2], b[2]) - max(a[0], b[0]))
    height = max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (a, b)]
    return width * height / (sum(areas) - width * height)


def diou(a: list[float], b: list[float]) -> float:
    centres = [((box[0] + box[2]) / 2, (box[1] + box[3]) / 2) for box in (a, b)]
    distance2 = sum((p - q) ** 2 for p, q in zip(*centres, strict=True))
    width, height = max(a[2], b[2]) - min(a[0], b[0]), max(a[3], b[3]) - min(a[1], b[1])
    return iou(a, b) - distance2 / (width**2 + height**2)


@pytest.mark.parametrize("seed", range(8))
def test_positives_are_those_of_mmdetections_assigner(seed: int) -> None:
    operators.install()  # before mmdet is imported
    from mmdet.models.task_modules import ATSSAssigner
    from mmengine.structures import InstanceData

    anchors, truth = grid_anchors().float(), random_truth(seed)
    truth = replace(truth, boxes=truth.boxes.float())
    found = atss_assignment(anchors, SIZES, truth).positive
    per_level = [height * width for height, width in SIZES]
    for image, valid in enumerate(truth.valid):
        objects = InstanceData(bboxes=truth.boxes[image][valid], labels=truth.labels[image][valid])
        theirs = ATSSAssigner(topk=9).assign(InstanceData(priors=anchors), per_level, objects)
        assert found[image].equal(theirs.gt_inds > 0)
    assert found.any()


@pytest.mark.parametrize("seed", range(3))
def test_the_valuable_region_agrees_with_plain_loops(seed: int) -> None:
    anchors, truth = grid_anchors(), random_truth(seed)
    found = atss_assignment(anchors, SIZES, truth)
    for image in range(len(truth.boxes)):
        expected = set()
        for box in truth.boxes[image][truth.valid[image]].tolist():
            centre = ((box[0] + box[2]) / 2, (box[1] + box[3]) / 2)
            candidates, start = [], 0
            for height, width in SIZES:
                level = range(start, start + height * width)

                def distance(a: int, centre: tuple[float, float] = centre) -> float:
                    x1, y1, x2, y2 = anchors[a].tolist()
                    return (((x1 + x2) / 2 - centre[0]) ** 2) + ((y1 + y2) / 2 - centre[1]) ** 2

                candidates += sorted(level, key=distance)[:9]
                start += height * width
            ious = [iou(box, anchors[a].tolist()) for a in candidates]
            threshold = statistics.fmean(ious) + statistics.stdev(ious)
            expected |= {
                a
                for a in range(len(anchors))
                if 0.25 * threshold <= diou(box, anchors[a].tolist()) < threshold
            }
        expected -= set(found.positive[image].nonzero().flatten().tolist())
        assert set(found.valuable[image].nonzero().flatten().tolist()) == expected


@pytest.mark.parametrize("seed", range(3))
def test_the_imitation_region_agrees_with_plain_loops(seed: int) -> None:
    anchors, truth = grid_anchors(), random_truth(seed)
    found = imitation_region(anchors, truth)
    for image in range(len(truth.boxes)):
        expected = set()
        for box in truth.boxes[image][truth.valid[image]].tolist():
            ious = [iou(box, anchor) for anchor in anchors.tolist()]
            expected |= {a for a, value in enumerate(ious) if value > 0.5 * max(ious)}
        assert set(found[image].nonzero().flatten().tolist()) == expected


def test_an_object_far_from_every_anchor_and_no_object_at_all_have_no_region() -> None:
    anchors, truth = grid_anchors(), random_truth(0)
    far = replace(truth, boxes=truth.boxes + 1e5)
    none = [torch.zeros(0, 4)] * 2
    empty = GroundTruth.from_lists(none, [torch.zeros(0)] * 2, none, [(64, 80)] * 2, "cpu")
    for strange in (far, empty):
        found = atss_assignment(anchors, SIZES, strange)
        assert not found.positive.any()
        assert not found.valuable.any()
        assert not imitation_region(anchors, strange).any()


def test_one_candidate_has_no_spread() -> None:
    anchors = torch.tensor([[0.0, 0, 8, 8]], dtype=torch.float64)
    truth = GroundTruth.from_lists(
        [torch.tensor([[0.0, 0, 8, 8]])], [torch.zeros(1)], [torch.zeros(0, 4)], [(8, 8)], "cpu"
    )
    assert atss_assignment(anchors, ((1, 1),), truth).positive.all()


def test_a_detector_without_anchors_is_refused() -> None:
    predictions = TeacherPredictions(
        torch.zeros(1, 2), torch.zeros(1, 1, 4), torch.zeros(1, 1, 3), ((1, 1),)
    )
    with pytest.raises(InvalidSpec, match="FCOS and AutoAssign"):
        anchors_of(Scene(predictions, random_truth(0), iteration=0))
