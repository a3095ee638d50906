from __future__ import annotations

import pytest
import torch
from mmdet.registry import MODELS
from mmdet.utils import register_all_modules
from torch import nn

from pgd_core.detectors.build import build_detector
from pgd_core.detectors.recognise_backbone import recognise_backbone
from tests.pgd_core.detectors.batches import small_spec


def built(kind: str, **config: object) -> nn.Module:
    """One of MMDetection's backbones, without memory for its tensors where it can do without."""
    register_all_modules(init_default_scope=True)
    with torch.device("cpu" if kind == "SwinTransformer" else "meta"):
        net: nn.Module = MODELS.build({"type": kind, **config})
    return net


@pytest.mark.parametrize("depth", [18, 34, 50, 101])
def test_a_resnet_is_told_by_its_blocks(depth: int) -> None:
    found = recognise_backbone(built("ResNet", depth=depth).state_dict())
    assert (found.name, found.known) == (f"resnet{depth}", True)
    assert (found.depth, found.norm) == (depth, "BN")


@pytest.mark.parametrize("width", [0.25, 0.35, 0.5, 0.6, 0.75, 1.0, 1.25, 1.4])
def test_a_mobilenet_is_told_with_a_width_that_builds_the_same(width: float) -> None:
    weights = build_detector(small_spec("fcos", "mobilenet_v2", width=width), 3).backbone
    found = recognise_backbone(weights.state_dict())
    assert (found.name, found.known) == ("mobilenet_v2", True)
    again = build_detector(small_spec("fcos", "mobilenet_v2", width=found.width), 3).backbone
    shapes = [{k: v.shape for k, v in net.state_dict().items()} for net in (weights, again)]
    assert shapes[0] == shapes[1]
    if width in (0.25, 0.5, 1.0):
        assert found.width == width


_STAGE = {"num_modules": 1, "block": "BASIC"}
_HRNET = {
    "stage1": {
        **_STAGE,
        "num_branches": 1,
        "block": "BOTTLENECK",
        "num_blocks": (4,),
        "num_channels": (64,),
    },
    **{
        f"stage{n}": {
            **_STAGE,
            "num_branches": n,
            "num_blocks": (4,) * n,
            "num_channels": (18, 36, 72, 144)[:n],
        }
        for n in (2, 3, 4)
    },
}


OTHERS: dict[str, dict[str, object]] = {
    "resnet152": {"type": "ResNet", "depth": 152},
    "a ResNet with a deep stem": {"type": "ResNetV1d", "depth": 50},
    "ResNeXt of 32 groups": {"type": "ResNeXt", "depth": 50, "groups": 32, "base_width": 4},
    "Res2Net": {"type": "Res2Net", "depth": 50, "scales": 4, "base_width": 26},
    "a Swin transformer": {
        "type": "SwinTransformer",
        "embed_dims": 8,
        "depths": (1, 1, 1, 1),
        "num_heads": (1, 1, 1, 1),
    },
    "a wide resnet50": {"type": "ResNet", "depth": 50, "base_channels": 128},
    "HRNet": {"type": "HRNet", "extra": _HRNET},
}


@pytest.mark.parametrize("name", OTHERS)
def test_what_cannot_be_declared_is_called_what_it_looks_like(name: str) -> None:
    config = dict(OTHERS[name])
    found = recognise_backbone(built(str(config.pop("type")), **config).state_dict())
    assert found.name.startswith(name), found
    assert not found.known


def test_a_resnet_of_another_norm_is_known_by_name_and_cannot_be_declared() -> None:
    backbone = built("ResNet", depth=18, norm_cfg={"type": "GN", "num_groups": 2})
    found = recognise_backbone(backbone.state_dict())
    assert (found.name, found.known, found.norm) == ("resnet18", False, "GN")


def test_a_network_of_timm_takes_the_name_that_is_said() -> None:
    weights = {"net.conv_stem.weight": torch.ones(1)}
    assert recognise_backbone(weights, "resnet10t").name == "timm/resnet10t"
    assert "declare it" in recognise_backbone(weights).name


def test_no_backbone_at_all_is_said() -> None:
    assert recognise_backbone({}).name == "no tensors at all"
