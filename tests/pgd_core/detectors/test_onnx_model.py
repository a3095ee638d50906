"""The detector as tensors in, tensors out, against MMDetection's own prediction."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from mmcv.ops import DeformConv2dPack

from pgd_core.detectors.build import build_detector
from pgd_core.detectors.onnx_model import CompleteDetector, DenseDetector, Selection
from pgd_core.detectors.onnx_operators import NO_SCORE, NonMaxSuppression, with_basic_convolutions
from pgd_core.detectors.predictions import head_predictions
from tests.pgd_core.detectors.batches import CLASSES, make_seeing, small_spec

SIZES = torch.tensor([[96, 96], [70, 91], [40, 64]])  # of pictures padded to 96 x 96


def _detector(name: str, **rules: Any) -> Any:
    torch.manual_seed(5)
    detector = make_seeing(build_detector(small_spec(name, "mobilenet_v2", width=0.25), CLASSES))
    detector.bbox_head.test_cfg.update(rules)
    return detector


def _selection(detector: Any) -> Selection:
    rules = detector.bbox_head.test_cfg
    return Selection(rules.score_thr, rules.nms.iou_threshold, rules.max_per_img, rules.nms_pre)


def _pictures() -> torch.Tensor:
    return torch.randn(3, 3, 96, 96, generator=torch.Generator().manual_seed(1))


def _mmdetection_finds(detector: Any) -> Any:
    outputs = detector.bbox_head(detector.extract_feat(_pictures()))
    metas = [{"img_shape": tuple(size), "scale_factor": (1, 1)} for size in SIZES.tolist()]
    return detector.bbox_head.predict_by_feat(*outputs, batch_img_metas=metas, rescale=False)


@pytest.mark.parametrize("name", ["fcos", "autoassign", "atss", "gfl", "ddod"])
@pytest.mark.parametrize(
    "rules",
    [{}, {"nms_pre": 40, "max_per_img": 20}, {"score_thr": 0.8}],
    ids=["plain", "few candidates", "high threshold"],
)
@torch.no_grad()
def test_what_is_told_is_mmdetection_s_prediction(name: str, rules: dict[str, Any]) -> None:
    detector = _detector(name, **rules)
    complete = CompleteDetector(DenseDetector(detector), _selection(detector))

    boxes, scores, labels, counts = complete(_pictures(), SIZES)

    wanted = _mmdetection_finds(detector)
    assert sum(map(len, wanted)) > 10
    for index, instances in enumerate(wanted):
        count = int(counts[index])
        assert count == len(instances)
        torch.testing.assert_close(boxes[index, :count], instances.bboxes, rtol=1e-4, atol=1e-3)
        torch.testing.assert_close(scores[index, :count], instances.scores, rtol=1e-4, atol=1e-5)
        assert torch.equal(labels[index, :count], instances.labels)
        assert (labels[index, count:] == -1).all()
        assert not boxes[index, count:].any()
        assert not scores[index, count:].any()


@torch.no_grad()
def test_where_nothing_is_over_the_threshold_nothing_is_told() -> None:
    detector = _detector("fcos", score_thr=0.999999)
    complete = CompleteDetector(DenseDetector(detector), _selection(detector))
    boxes, scores, labels, counts = complete(_pictures(), SIZES)
    assert counts.tolist() == [0, 0, 0]
    assert (labels == -1).all()
    assert not boxes.any()
    assert not scores.any()


@torch.no_grad()
def test_the_dense_prediction_is_the_head_s_decoded() -> None:
    detector = _detector("atss")
    outputs = detector.bbox_head(detector.extract_feat(_pictures()))
    wanted = head_predictions(detector.bbox_head, outputs)

    boxes, scores = DenseDetector(detector)(_pictures())

    torch.testing.assert_close(boxes, wanted.boxes, rtol=1e-4, atol=1e-3)
    centerness = torch.cat([level.flatten(1) for level in outputs[2]], dim=1).sigmoid()
    probs = wanted.class_logits.sigmoid()
    torch.testing.assert_close(scores, probs * centerness[..., None], rtol=1e-4, atol=1e-6)


def test_the_detector_itself_is_left_as_it_is() -> None:
    detector = _detector("ddod")
    before = {name: type(module) for name, module in detector.named_modules()}
    DenseDetector(detector)
    assert before == {name: type(module) for name, module in detector.named_modules()}


@pytest.mark.parametrize("size", [(7, 9), (1, 1), (2, 5)])
@torch.no_grad()
def test_a_basic_deformable_convolution_gives_what_mmcv_s_gives(size: tuple[int, int]) -> None:
    torch.manual_seed(0)
    conv = DeformConv2dPack(4, 6, 3, padding=1, groups=2, deform_groups=2)
    torch.nn.init.normal_(conv.conv_offset.weight, std=0.7)
    maps = torch.randn(2, 4, *size)
    basic = with_basic_convolutions(torch.nn.Sequential(conv))
    assert not any(isinstance(module, DeformConv2dPack) for module in basic.modules())
    torch.testing.assert_close(basic(maps), conv(maps), rtol=1e-4, atol=1e-5)


def test_suppression_names_image_and_box_and_skips_what_is_no_candidate() -> None:
    same = torch.tensor([[0.0, 0, 10, 10], [1, 0, 10, 10], [20, 20, 30, 30]])
    boxes = torch.stack([same, same])
    scores = torch.tensor([[[0.5, 0.9, 0.7]], [[0.8, NO_SCORE, NO_SCORE]]])
    kept = NonMaxSuppression.apply(boxes, scores, 2, 0.5)
    assert kept.tolist() == [[0, 0, 1], [0, 0, 2], [1, 0, 0]]
    assert NonMaxSuppression.apply(boxes, scores, 1, 0.5).tolist() == [[0, 0, 1], [1, 0, 0]]
