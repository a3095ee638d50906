"""Our ATSS assignment against MMDetection's, which the detectors train with."""

from __future__ import annotations

import pytest
import torch
from mmdet.registry import TASK_UTILS
from mmengine.structures import InstanceData
from torch import Tensor

from pgd_core.detectors.build import STRIDES, build_detector
from pgd_core.detectors.predictions import head_predictions
from pgd_core.distill import GroundTruth, TeacherPredictions
from pgd_core.distill.anchors import anchor_ious
from pgd_core.distill.atss import Assignment, atss_assignment
from tests.pgd_core.detectors.batches import CLASSES, small_spec

SIZE = (160, 224)  # height, width, pixels
PER_LEVEL = 9


def scene(seed: int, objects: int) -> tuple[Tensor, Tensor]:
    """Boxes of 8 to 150 pixels anywhere on the image, and their labels."""
    generator = torch.Generator().manual_seed(seed)
    centre = torch.rand(objects, 2, generator=generator) * torch.tensor(SIZE[::-1])
    half = 4 + 71 * torch.rand(objects, 2, generator=generator)
    limit = torch.tensor([SIZE[1], SIZE[0]] * 2) - 0.1 * torch.rand(objects, 4, generator=generator)
    boxes = torch.minimum(torch.cat([centre - half, centre + half], dim=1).clamp(min=0), limit)
    return boxes, torch.randint(CLASSES, (objects,), generator=generator)


@pytest.fixture(scope="module")
def head() -> torch.nn.Module:
    torch.manual_seed(0)
    head: torch.nn.Module = build_detector(small_spec("gfl"), CLASSES).bbox_head
    return head.eval()


@torch.no_grad()
def predict(head: torch.nn.Module, images: int) -> TeacherPredictions:
    """A head's outputs on features of nothing: only its anchors matter here."""
    sizes = [(-(-SIZE[0] // stride), -(-SIZE[1] // stride)) for stride in STRIDES]
    return head_predictions(head, head([torch.zeros(images, 16, *size) for size in sizes]))


def assign(
    predictions: TeacherPredictions,
    objects: list[tuple[Tensor, Tensor]],
    sizes: list[tuple[int, int]],
) -> Assignment:
    truth = GroundTruth.from_lists(
        [boxes for boxes, _ in objects],
        [labels for _, labels in objects],
        [torch.zeros(0, 4)] * len(objects),
        sizes,
        "cpu",
    )
    return atss_assignment(anchor_ious(predictions, truth), predictions, truth, PER_LEVEL)


def test_random_scenes_have_mmdetections_positives(head: torch.nn.Module) -> None:
    counts = [12, 0, 1, 30, *range(2, 18)]
    objects = [scene(seed, count) for seed, count in enumerate(counts)]
    predictions = predict(head, len(objects))
    ours = assign(predictions, objects, [SIZE] * len(objects))
    assigner = TASK_UTILS.build({"type": "ATSSAssigner", "topk": PER_LEVEL})
    per_level = [height * width for height, width in predictions.level_sizes]
    for n, (boxes, labels) in enumerate(objects):
        theirs = assigner.assign(
            InstanceData(priors=predictions.anchors),
            per_level,
            InstanceData(bboxes=boxes, labels=labels),
        )
        assert ours.positive[n].equal(theirs.gt_inds > 0)
    assert ours.positive.sum() > 300


def test_images_of_several_sizes_have_the_positives_that_the_head_trains_with(
    head: torch.nn.Module,
) -> None:
    """Sizes that the size divisor leaves as they are."""
    sizes = [SIZE, (96, 224), (160, 128), (96, 96)]
    objects = []
    for seed, (height, width) in enumerate(sizes):
        boxes, labels = scene(seed, 40)
        fits = (boxes[:, 2] < width) & (boxes[:, 3] < height)
        objects.append((boxes[fits], labels[fits]))
    ours = assign(predict(head, len(sizes)), objects, sizes)
    metas = [{"img_shape": size, "pad_shape": (*size, 3)} for size in sizes]
    level_sizes = [tuple(s) for s in predict(head, 1).level_sizes]
    anchors, flags = head.get_anchors(level_sizes, metas, device="cpu")
    instances = [InstanceData(bboxes=boxes, labels=labels) for boxes, labels in objects]
    _, labels, *_ = head.get_targets(anchors, flags, instances, metas)
    theirs = torch.cat(labels, dim=1) < CLASSES
    assert ours.positive.equal(theirs)
    assert (theirs.sum(dim=1) > 10).all()
