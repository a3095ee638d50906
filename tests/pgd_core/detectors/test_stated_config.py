from __future__ import annotations

from pathlib import Path

import mmdet
import pytest
from mmengine.config import Config

from pgd_core.detectors.build import detector_config
from pgd_core.detectors.stated_config import differences, parsed_config
from pgd_core.jobs.spec import BackboneSpec, DetectorSpec

CONFIGS = Path(mmdet.__file__).parent / ".mim" / "configs"


def official(name: str) -> str:
    """A config of MMDetection's as it writes it into a checkpoint."""
    return str(Config.fromfile(CONFIGS / name).pretty_text)


def ours(detector: str) -> dict[str, object]:
    return detector_config(
        DetectorSpec(detector=detector, backbone=BackboneSpec(name="resnet50")), 80
    )


@pytest.mark.parametrize(
    ("detector", "name"),
    [
        ("atss", "atss/atss_r50_fpn_1x_coco.py"),
        ("gfl", "gfl/gfl_r50_fpn_1x_coco.py"),
        ("ddod", "ddod/ddod_r50_fpn_1x_coco.py"),
    ],
)
def test_mmdetections_own_configs_compute_as_here(detector: str, name: str) -> None:
    assert differences(parsed_config(official(name)), ours(detector)) == []


def test_mmdetections_fcos_computes_otherwise() -> None:
    text = official("fcos/fcos_r50-caffe_fpn_gn-head_1x_coco.py")
    found = differences(parsed_config(text), ours("fcos"))
    for part in ("backbone.style is caffe", "bbox_head.norm_on_bbox is False", "pictures' mean"):
        assert any(part in difference for difference in found), part


def test_pictures_of_versions_1_and_2_are_normalised_in_the_pipeline() -> None:
    text = "img_norm_cfg = dict(mean=[1.0, -2.0, 3.0], std=[58.395, 57.12, 57.375], to_rgb=True)"
    assert differences(parsed_config(text), ours("gfl")) == [
        "pictures' mean is [1.0, -2.0, 3.0] there and [123.675, 116.28, 103.53] here"
    ]


def test_a_config_is_never_executed(tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    text = f"__import__('pathlib').Path({str(canary)!r}).touch()\nmodel = dict(a=open('b', 'w'))"
    parsed = parsed_config(text)
    assert not canary.exists()
    assert set(parsed) == {"model"}
    assert not isinstance(parsed["model"]["a"], str | int | dict | list)


@pytest.mark.parametrize(
    "text", ["", "no config (", "\0", "(" * 500 + ")" * 500, "a = " + "-" * 9999]
)
def test_what_is_no_config_says_nothing(text: str) -> None:
    assert parsed_config(text) == {}
    assert differences({}, ours("gfl")) == []
