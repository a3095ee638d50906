from __future__ import annotations

import pytest
import torch

from pgd_core.detectors.build import build_detector
from pgd_core.jobs.spec import BackboneName, DetectorName
from tests.pgd_core.detectors.batches import CLASSES, batch, small_spec


@pytest.mark.parametrize("backbone", BackboneName)
def test_every_backbone_feeds_the_neck(backbone: BackboneName) -> None:
    model = build_detector(small_spec(backbone=backbone), CLASSES)
    features = model.extract_feat(torch.zeros(1, 3, 64, 64))
    assert [tuple(f.shape[1:]) for f in features] == [(16, n, n) for n in (8, 4, 2, 1, 1)]


@pytest.mark.parametrize("width", [0.25, 0.35, 0.5, 0.75, 1.0, 1.4])
def test_every_width_of_mobilenet_feeds_the_neck(width: float) -> None:
    model = build_detector(small_spec(backbone="mobilenet_v2", width=width), CLASSES)
    assert len(model.extract_feat(torch.zeros(1, 3, 64, 64))) == 5


@pytest.mark.parametrize("detector", DetectorName)
def test_every_head_has_group_norm_in_its_towers(detector: DetectorName) -> None:
    head = build_detector(small_spec(detector), CLASSES).bbox_head
    for tower in (head.cls_convs, head.reg_convs):
        assert isinstance(tower[0].norm, torch.nn.GroupNorm)


def test_frozen_batch_norm_has_no_gradient_and_keeps_its_statistics() -> None:
    model = build_detector(small_spec(freeze_batch_norm=True, frozen_stages=1), CLASSES).train()
    norm = model.backbone.layer2[0].bn1
    assert not norm.training
    assert not norm.weight.requires_grad
    assert not any(p.requires_grad for p in model.backbone.layer1.parameters())
    assert all(p.requires_grad for p in model.backbone.layer2[0].conv1.parameters())


def test_a_map_of_one_column_has_a_right_gradient_in_bfloat16() -> None:
    """The other taps see padding alone; torch fills them with what the memory last held."""
    conv = build_detector(small_spec(), CLASSES).neck.fpn_convs[4].conv
    picture = torch.randn(4, 16, 1, 1)
    left_in_memory = [torch.full((size,), 1e30) for size in range(100, 6000, 37)]
    del left_in_memory
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output = conv(picture)
    output.float().sum().backward()
    centre = torch.zeros(3, 3, dtype=torch.bool)
    centre[1, 1] = True
    assert not conv.weight.grad[..., ~centre].any()
    expected = picture.sum(dim=(0, 2, 3)).expand(16, 16)
    torch.testing.assert_close(conv.weight.grad[..., 1, 1], expected, atol=0.1, rtol=0.05)
    assert output.shape == (4, 16, 1, 1)


@pytest.mark.parametrize("detector", list(DetectorName))
def test_losses_under_autocast_are_finite_and_in_float32(detector: DetectorName) -> None:
    model = build_detector(small_spec(detector, "mobilenet_v2", width=0.25), CLASSES)
    data = model.data_preprocessor(batch(), training=True)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        losses = model(**data, mode="loss")
    for name, value in losses.items():
        terms = torch.stack(value) if isinstance(value, list) else value
        assert terms.dtype is torch.float32, name
        assert terms.isfinite().all(), name
