"""Which backbone a checkpoint has, from the names and shapes of its tensors."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from pgd_core.detectors.build import MOBILENET_BLOCKS, RESNET_DEPTHS, divisible_by_8
from pgd_core.detectors.weights import Weights
from pgd_core.jobs.detector import OF_TIMM

# (blocks of the four stages, whether these are bottlenecks): depth
_DEPTHS: dict[tuple[tuple[int, ...], bool], int] = {
    ((2, 2, 2, 2), False): 18,
    ((3, 4, 6, 3), False): 34,
    ((3, 4, 6, 3), True): 50,
    ((3, 4, 23, 3), True): 101,
    ((3, 8, 36, 3), True): 152,
}
# A tensor that only this family has: its name
_OTHERS = {
    r"layer1\.0\.convs\.": "Res2Net",
    r"stem\.0\.": "a ResNet with a deep stem (ResNetV1c/d, ResNeSt)",
    r"layer\d\.\d+\.conv\d\.conv_offset": "a ResNet with deformable convolutions",
    r"stages\.0\.blocks\.0\.attn": "a Swin transformer",
    r"layers\.0\.blocks\.0\.attn": "a Swin transformer",
    r"patch_embed": "a vision transformer",
    r"stage2\.0\.branches": "HRNet",
    r"stage1\.0\.conv": "CSPDarknet",
    r"conv_res_block1": "Darknet",
    r"features\.0\.weight": "VGG",
    r"downsample_layers\.0": "ConvNeXt",
    r"layer1\.0\.out_conv": "MobileNetV3",
}
_HUNDREDTHS = range(25, 141)  # the widths that a declaration may name
_USUAL_WIDTHS = (1.0, 0.5, 0.25, 0.75, 0.35, 1.4, 1.25, 1.3)


@dataclass(frozen=True)
class Backbone:
    """What it is called in a declaration, or what it looks like where it can be in none."""

    name: str
    known: bool = False  # whether a declaration can name it
    depth: int | None = None
    width: float = 1.0
    norm: str = "none"
    notes: tuple[str, ...] = field(default=())


def recognise_backbone(
    weights: Weights,  # without the prefix `backbone.`
    timm_name: str = "",  # from the checkpoint's config, or declared
) -> Backbone:
    """The backbone; one of timm's is known by its prefix only and takes the name that is said."""
    if any(key.startswith("net.") for key in weights):
        return _of_timm(weights, timm_name)
    if "layer1.0.depthwise_conv.conv.weight" in weights:
        return _mobilenet(weights)
    for pattern, name in _OTHERS.items():
        if any(re.match(pattern, key) for key in weights):
            return Backbone(name)
    if "conv1.weight" in weights and "layer1.0.conv1.weight" in weights:
        return _resnet(weights)
    return Backbone("nothing known" if weights else "no tensors at all")


def _resnet(weights: Weights) -> Backbone:
    blocks = tuple(_count(weights, rf"layer{stage}\.(\d+)\.conv1\.") for stage in range(1, 5))
    bottleneck = "layer1.0.conv3.weight" in weights
    norm = "BN" if "bn1.running_mean" in weights else "GN" if "gn1.weight" in weights else "none"
    depth = _DEPTHS.get((blocks, bottleneck))
    inner = weights["layer1.0.conv2.weight"].shape
    if bottleneck and inner[0] != inner[1]:
        return Backbone(f"ResNeXt of {inner[0] // inner[1]} groups", depth=depth, norm=norm)
    if depth is None:
        return Backbone(f"a ResNet of {blocks} blocks", norm=norm)
    if bottleneck and inner[0] != 64:
        return Backbone(f"a wide resnet{depth}", depth=depth, norm=norm)
    known = depth in RESNET_DEPTHS.values() and norm == "BN"
    return Backbone(f"resnet{depth}", known, depth, norm=norm)


def _count(keys: Iterable[str], pattern: str) -> int:
    """How many numbers the pattern's group takes."""
    return len({m[1] for key in keys if (m := re.match(pattern, key))})


def _mobilenet(weights: Weights) -> Backbone:
    found = {
        layer: weights[key].shape[0]
        for layer in MOBILENET_BLOCKS
        if (key := f"{layer}.0.linear_conv.conv.weight") in weights
    }
    widths = [hundredth / 100 for hundredth in _HUNDREDTHS if _widths_fit(hundredth / 100, found)]
    norm = "BN" if "conv1.bn.running_mean" in weights else "none"
    if found.keys() != MOBILENET_BLOCKS.keys() or not widths or norm != "BN":
        channels = ", ".join(map(str, found.values()))
        return Backbone(f"a MobileNetV2 of {channels} channels", norm=norm)
    width = next((usual for usual in _USUAL_WIDTHS if usual in widths), widths[0])
    notes: tuple[str, ...] = ()
    if len(widths) > 1:
        notes = (f"widths {widths[0]} to {widths[-1]} are the same MobileNetV2",)
    return Backbone("mobilenet_v2", True, width=width, norm=norm, notes=notes)


def _widths_fit(width: float, found: Mapping[str, int]) -> bool:
    return all(divisible_by_8(MOBILENET_BLOCKS[k] * width) == found[k] for k in found)


def _of_timm(weights: Weights, timm_name: str) -> Backbone:
    norm = "BN" if any(key.endswith("running_mean") for key in weights) else "none"
    if timm_name:
        note = f"timm's {timm_name} is what the checkpoint or its declaration says"
        return Backbone(OF_TIMM + timm_name, True, norm=norm, notes=(note,))
    return Backbone("a network of timm, whose name tensors do not tell: declare it", norm=norm)
