from __future__ import annotations

import pytest
import torch
from torch import nn

from pgd_core.detectors.build import STRIDES, build_detector
from pgd_core.detectors.predictions import head_predictions
from pgd_core.jobs.spec import DetectorName
from tests.pgd_core.detectors.batches import CLASSES, batch, small_spec


@pytest.mark.parametrize("detector", DetectorName)
def test_boxes_are_those_that_mmdetection_predicts(detector: DetectorName) -> None:
    """Without thresholds and NMS MMDetection returns every position's box, sorted by score."""
    torch.manual_seed(1)
    model = build_detector(small_spec(detector), CLASSES).eval()
    _randomise(model.bbox_head)
    data = model.data_preprocessor(batch())
    with torch.no_grad():
        features = model.extract_feat(data["inputs"])
        outputs = model.bbox_head(features)
        ours = head_predictions(model.bbox_head, outputs)
        config = model.bbox_head.test_cfg.copy()
        config.update(score_thr=-1.0, nms_pre=-1, max_per_img=10**6)
        theirs = model.bbox_head.predict_by_feat(
            *outputs,
            batch_img_metas=[
                {**s.metainfo, "img_shape": (10**4, 10**4)} for s in data["data_samples"]
            ],
            cfg=config,
            rescale=False,
            with_nms=False,
        )
    for image, found in enumerate(theirs):
        inside = ours.boxes[image].clamp(0, 10**4)
        distance = torch.cdist(found.bboxes.double(), inside.double()).min(dim=1).values
        assert float(distance.max()) < 1e-2


@pytest.mark.parametrize("detector", DetectorName)
def test_points_are_the_priors_centres_from_fine_to_coarse(detector: DetectorName) -> None:
    model = build_detector(small_spec(detector), CLASSES).eval()
    with torch.no_grad():
        outputs = model.bbox_head(model.extract_feat(torch.zeros(1, 3, 96, 64)))
        found = head_predictions(model.bbox_head, outputs)
    offset = 0.5 if detector is DetectorName.FCOS else 0.0
    expected = [
        ((x + offset) * stride, (y + offset) * stride)
        for stride, (height, width) in zip(STRIDES, found.level_sizes, strict=True)
        for y in range(height)
        for x in range(width)
    ]
    torch.testing.assert_close(found.points, torch.tensor(expected))


def test_class_logits_follow_the_same_order_as_the_points() -> None:
    model = build_detector(small_spec(), CLASSES).eval()
    _randomise(model.bbox_head)
    with torch.no_grad():
        outputs = model.bbox_head(model.extract_feat(torch.rand(2, 3, 96, 64)))
        found = head_predictions(model.bbox_head, outputs)
    position = 0
    for level in outputs[0]:
        for y in range(level.shape[2]):
            for x in range(level.shape[3]):
                torch.testing.assert_close(found.class_logits[:, position], level[:, :, y, x])
                position += 1


def test_gfl_distances_are_scaled_by_the_stride_of_their_own_level() -> None:
    """The release takes 8·2^i of image i."""
    model = build_detector(small_spec("gfl"), CLASSES).eval()
    nn.init.zeros_(model.bbox_head.gfl_reg.weight)
    nn.init.zeros_(model.bbox_head.gfl_reg.bias)
    with torch.no_grad():
        outputs = model.bbox_head(model.extract_feat(torch.zeros(3, 3, 128, 128)))
        found = head_predictions(model.bbox_head, outputs)
    widths = (found.boxes[..., 2] - found.boxes[..., 0])[:, :].split(
        [h * w for h, w in found.level_sizes], dim=1
    )
    for stride, width in zip(STRIDES, widths, strict=True):
        torch.testing.assert_close(width, torch.full_like(width, 2 * 8.0 * stride))  # mean bin 8


def test_a_head_that_is_not_known_is_refused_by_name() -> None:
    with pytest.raises(TypeError, match="Identity"):
        head_predictions(nn.Identity(), ([torch.zeros(1, 1, 1, 1)], [torch.zeros(1, 4, 1, 1)]))


def _randomise(head: nn.Module) -> None:
    for name, parameter in head.named_parameters():
        if parameter.dim() == 4 and "offset" not in name:
            nn.init.normal_(parameter, std=0.1)


@pytest.mark.parametrize("detector", DetectorName)
def test_boxes_are_decoded_in_full_precision_under_autocast(detector: DetectorName) -> None:
    """In bfloat16 the steps between coordinates of a thousand pixels are 4 to 8 pixels."""
    model = build_detector(small_spec(detector), CLASSES).eval()
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        outputs = model.bbox_head(model.extract_feat(torch.randn(1, 3, 128, 1024)))
        under_autocast = head_predictions(model.bbox_head, outputs)
    plainly = head_predictions(model.bbox_head, outputs)
    for name in ("points", "boxes", "class_logits"):
        assert getattr(under_autocast, name).dtype == torch.float32
        torch.testing.assert_close(getattr(under_autocast, name), getattr(plainly, name))
