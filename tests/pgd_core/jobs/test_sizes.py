"""Counted sizes against detectors that are really built."""

from __future__ import annotations

import pytest

from pgd_core.jobs.detector import BackboneName, DetectorName
from pgd_core.jobs.sizes import size_of
from pgd_core.jobs.spec import BackboneSpec, DetectorSpec


def built(spec: DetectorSpec, classes: int):
    from pgd_core.detectors.build import build_detector

    return build_detector(spec, classes)


@pytest.mark.parametrize("detector", DetectorName)
@pytest.mark.parametrize("classes", [1, 80])
def test_every_detector_has_the_parameters_that_are_counted(detector, classes):
    backbone = BackboneSpec(name="resnet18")
    spec = DetectorSpec(detector=detector, backbone=backbone, head_width=64, norm_groups=8)

    model = built(spec, classes)

    size = size_of(spec, classes)
    assert size.parameters == sum(p.numel() for p in model.parameters())
    assert size.backbone == sum(p.numel() for p in model.backbone.parameters())


@pytest.mark.parametrize("name", BackboneName)
@pytest.mark.parametrize("frozen_stages", [-1, 0, 2])
def test_every_backbone_has_the_parameters_that_are_counted_and_trains_as_many(name, frozen_stages):
    backbone = BackboneSpec(name=name, frozen_stages=frozen_stages)
    spec = DetectorSpec(detector="fcos", backbone=backbone, head_width=16, norm_groups=8)

    model = built(spec, 3).train()

    size = size_of(spec, 3)
    assert size.backbone == sum(p.numel() for p in model.backbone.parameters())
    assert size.trained == sum(p.numel() for p in model.parameters() if p.requires_grad)


@pytest.mark.parametrize("width", [0.25, 0.5, 0.75, 1.25, 1.4])
def test_every_width_of_mobilenet_is_counted(width):
    backbone = BackboneSpec(name="mobilenet_v2", width=width)
    spec = DetectorSpec(detector="fcos", backbone=backbone, head_width=16, norm_groups=8)

    assert size_of(spec, 2).parameters == sum(p.numel() for p in built(spec, 2).parameters())


def test_a_frozen_stage_keeps_nothing():
    def kept(frozen_stages):
        backbone = BackboneSpec(name="resnet50", frozen_stages=frozen_stages)
        return size_of(DetectorSpec(detector="fcos", backbone=backbone), 80).kept

    assert kept(-1) > kept(0) > kept(1) > kept(4) > 0
    weights = BackboneSpec(name="resnet50", weights="imagenet")  # freezes the first stage
    assert size_of(DetectorSpec(detector="fcos", backbone=weights), 80).kept == kept(1)
