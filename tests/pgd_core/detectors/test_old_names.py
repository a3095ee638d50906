from __future__ import annotations

import pytest
import torch
from mmdet.registry import MODELS

from pgd_core.detectors.build import build_detector, detector_config
from pgd_core.detectors.old_names import todays_names
from pgd_core.errors import TeacherUnusable
from tests.pgd_core.detectors.batches import small_spec

ONE = torch.ones(1)


@pytest.mark.parametrize("prefix", ["", "module.", "model.", "_orig_mod.", "architecture.", "a.b."])
def test_whatever_stands_before_the_backbone_is_taken_off(prefix: str) -> None:
    weights = {f"{prefix}backbone.conv1.weight": ONE, f"{prefix}bbox_head.scales.0.scale": ONE}
    renamed = todays_names(weights)
    assert set(renamed.weights) == {"backbone.conv1.weight", "bbox_head.scales.0.scale"}
    assert bool(renamed.notes) is bool(prefix)


def test_two_detectors_in_one_file_are_refused() -> None:
    with pytest.raises(TeacherUnusable, match=r"2 detectors .*'student\.'.*'teacher\.'"):
        todays_names({"student.backbone.a": ONE, "teacher.backbone.a": ONE})


def test_copies_of_an_averaging_hook_are_left_out() -> None:
    renamed = todays_names({"backbone.conv1.weight": ONE, "ema_backbone_conv1_weight": ONE})
    assert set(renamed.weights) == {"backbone.conv1.weight"}
    assert "1 copies" in renamed.notes[0]


def test_predictors_of_mmdetection_1_load_as_mmdetection_loads_them_itself() -> None:
    spec = small_spec("fcos")
    model = build_detector(spec, 3)
    old = {k.replace("head.conv_", "head.fcos_"): v for k, v in model.state_dict().items()}
    theirs = MODELS.build(detector_config(spec, 3))
    theirs.load_state_dict(dict(old))  # without a version, as MMDetection 1 saved it
    ours = todays_names(old).weights
    assert ours.keys() == theirs.state_dict().keys()
    assert all(torch.equal(ours[name], value) for name, value in theirs.state_dict().items())


def test_a_predictor_in_both_names_is_refused() -> None:
    names = ("bbox_head.fcos_cls.bias", "bbox_head.conv_cls.bias")
    with pytest.raises(TeacherUnusable, match="both"):
        todays_names(dict.fromkeys(names, ONE))


def test_a_timm_network_of_mmpretrain_is_named_as_here() -> None:
    assert set(todays_names({"backbone.timm_model.conv_stem.weight": ONE}).weights) == {
        "backbone.net.conv_stem.weight"
    }
