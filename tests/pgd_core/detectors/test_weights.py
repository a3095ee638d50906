from __future__ import annotations

import pytest
import torch

from pgd_core.detectors.build import build_detector
from pgd_core.detectors.weights import inherit_head, load_whole, misfit
from pgd_core.errors import TeacherUnusable
from tests.pgd_core.detectors.batches import small_spec


def test_a_misfit_names_shapes_missing_and_unexpected_tensors_and_loads_nothing() -> None:
    model = build_detector(small_spec(), 3)
    weights = {k: torch.full_like(v, 7) for k, v in model.state_dict().items()}
    weights["bbox_head.conv_cls.bias"] = torch.zeros(80)
    del weights["bbox_head.conv_reg.bias"]
    weights["mask_head.bias"] = torch.zeros(1)
    before = {k: v.clone() for k, v in model.state_dict().items()}
    with pytest.raises(TeacherUnusable) as error:
        load_whole(model, weights, "the teacher", TeacherUnusable)
    for part in ("conv_cls.bias (80,) instead of (3,)", "conv_reg.bias", "mask_head.bias"):
        assert part in error.value.message
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())


def test_weights_that_are_not_finite_are_refused() -> None:
    model = build_detector(small_spec(), 3)
    weights = dict(model.state_dict())
    weights["bbox_head.conv_cls.bias"] = torch.full((3,), float("nan"))
    with pytest.raises(TeacherUnusable, match=r"NaN.*conv_cls\.bias"):
        load_whole(model, weights, "the teacher", TeacherUnusable)


def test_another_depth_is_a_misfit_both_ways() -> None:
    small, large = (
        build_detector(small_spec(), 3),
        build_detector(small_spec("fcos", "resnet34"), 3),
    )
    assert misfit(small, large.state_dict()).unexpected
    assert misfit(large, small.state_dict()).missing
    assert not misfit(small, small.state_dict())


def test_the_head_is_inherited_and_what_does_not_fit_is_listed() -> None:
    teacher = build_detector(small_spec("fcos", "resnet18"), 3)
    student = build_detector(small_spec("fcos", "mobilenet_v2"), 3)
    own_backbone = {k: v.clone() for k, v in student.state_dict().items() if "backbone" in k}
    taken = inherit_head(student, teacher)
    assert torch.equal(student.bbox_head.conv_cls.weight, teacher.bbox_head.conv_cls.weight)
    assert taken.skipped == tuple(f"neck.lateral_convs.{i}.conv.weight" for i in range(3))
    assert not any(name.startswith("backbone") for name in taken.copied)
    now = student.state_dict()
    assert all(torch.equal(now[k], v) for k, v in own_backbone.items())
