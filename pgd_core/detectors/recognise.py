"""Which detector a checkpoint is, from its tensors alone; the config beside them may add a name."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from pydantic import ValidationError

from pgd_core.detectors.build import STRIDES
from pgd_core.detectors.recognise_backbone import Backbone, recognise_backbone
from pgd_core.detectors.stated_config import Config, part
from pgd_core.detectors.weights import Weights
from pgd_core.jobs.detector import DetectorName, DetectorSpec
from pgd_core.jobs.recognised import Recognised

# Tensors of a head that, together, no other of MMDetection's has: (detector, its class predictor)
_OURS = (
    (("conv_cls", "conv_reg", "conv_centerness", "center_prior"), DetectorName.AUTOASSIGN),
    (("conv_cls", "conv_reg", "conv_centerness"), DetectorName.FCOS),
    (("atss_cls", "atss_reg", "atss_centerness"), DetectorName.ATSS),
    (("atss_cls", "atss_reg", "atss_iou"), DetectorName.DDOD),
    (("gfl_cls", "gfl_reg", "integral"), DetectorName.GFL),
)
# What other detectors' names look like
_OTHERS = {
    r"(rpn_head|roi_head)\.": "a detector of two stages",
    r"bbox_head\.retina_cls": "RetinaNet",
    r"bbox_head\.vfnet_": "VarifocalNet",
    r"bbox_head\.tood_": "TOOD",
    r"bbox_head\.multi_level_": "YOLOX",
    r"bbox_head\.reg_conf\.": "GFL version 2",
    r"bbox_head\.rtm_": "RTMDet",
    r"bbox_head\.convs_pred": "YOLOv3",
    r"bbox_head\.(heatmap_head|center_heatmap)": "CenterNet",
    r"(encoder|transformer|query_embedding|bbox_head\.transformer)": "a DETR",
    r"bbox_head\.(fovea|fsaf|rep|solo)": "another dense detector",
    r"(fc|classifier|head)\.": "a classifier",
}
_NOT_SEEN = (
    "tensors do not tell how pictures are normalised, where a bottleneck strides, and the "
    "GroupNorm's groups; measure the teacher on a data set"
)


def recognise(
    weights: Weights,  # under today's names
    config: Config | None = None,  # as it stands in the checkpoint, parsed
    *,
    class_names: Sequence[str] = (),
    timm_name: str = "",  # as declared
    norm_groups: int | None = None,  # as declared
) -> Recognised:
    """What the checkpoint is, and the declaration that would fit it."""
    config = config or {}
    backbone = recognise_backbone(_below(weights, "backbone."), timm_name or _timm_name(config))
    head, neck = _below(weights, "bbox_head."), _below(weights, "neck.")
    detector, predictors = _detector(weights, head)
    notes, classes = list(backbone.notes), _channels(head, f"{predictors[0]}.weight")
    if class_names and len(class_names) != classes:
        notes.append(f"the meta data names {len(class_names)} classes and is not believed")
    seen: dict[str, Any] = {
        "depth": backbone.depth,
        "width": backbone.width if backbone.name == "mobilenet_v2" else None,
        "neck_width": _channels(neck, "lateral_convs.0.conv.weight"),
        "head_width": _channels(head, "cls_convs.0.conv.weight"),
        "head_convs": _count(head, r"cls_convs\.(\d+)\.") or None,
        "classes": classes,
        "class_names": tuple(class_names) if len(class_names) == classes else None,
        "norms": {"backbone": backbone.norm, "neck": _norm(neck), "head": _norm(head)},
    }
    model = _declaration(detector, backbone, head, neck, seen, norm_groups or _groups(config))
    return Recognised(
        detector=detector,
        backbone=backbone.name,
        **seen,
        notes=(*notes, *_why_not(detector, head, neck, seen), *((_NOT_SEEN,) if model else ())),
        model=model,
    )


def _below(weights: Weights, prefix: str) -> Weights:
    return {k.removeprefix(prefix): v for k, v in weights.items() if k.startswith(prefix)}


def _detector(weights: Weights, head: Weights) -> tuple[str, tuple[str, ...]]:
    """(name, its predictors); what it looks like where it is none of ours."""
    parts = {key.partition(".")[0] for key in head}
    for pattern, other in _OTHERS.items():
        if any(re.match(pattern, key) for key in weights):
            return other, ("",)
    for wanted, name in _OURS:
        if parts.issuperset(wanted):
            return name.value, wanted
    return ("nothing known" if head else "no detector: it has no bbox_head"), ("",)


def _channels(weights: Weights, name: str) -> int | None:
    """The outputs of a convolution; None where there is none of that name."""
    tensor = weights.get(name)
    return None if tensor is None or tensor.ndim != 4 else tensor.shape[0]


def _count(weights: Weights, pattern: str) -> int:
    return len({m[1] for key in weights if (m := re.match(pattern, key))})


def _norm(weights: Weights) -> str:
    """MMCV calls a layer's norm by its kind."""
    kinds = {m[1] for key in weights if (m := re.search(r"\.(bn|gn|ln|in)\.", key))}
    return "+".join(sorted(kinds)).upper() or "none"


def _timm_name(config: Config) -> str:
    name = part(config, "model", "backbone", "model_name")
    return name if isinstance(name, str) and len(name) < 128 else ""


def _groups(config: Config) -> int | None:
    groups = part(config, "model", "bbox_head", "norm_cfg", "num_groups")
    return groups if type(groups) is int else None


def _declaration(
    detector: str,
    backbone: Backbone,
    head: Weights,
    neck: Weights,
    seen: dict[str, Any],
    norm_groups: int | None,
) -> DetectorSpec | None:
    """None where no declaration can name it."""
    width = seen["head_width"]
    if not backbone.known or _why_not(detector, head, neck, seen):
        return None
    usual = next(groups for groups in range(32, 0, -1) if width % groups == 0)
    try:
        return DetectorSpec.model_validate(
            {
                "detector": detector,
                "backbone": {"name": backbone.name, "width": backbone.width},
                "head_width": width,
                "head_convs": seen["head_convs"],
                "norm_groups": norm_groups or usual,
            }
        )
    except ValidationError:
        return None  # a width or a depth that no declaration takes


def _why_not(detector: str, head: Weights, neck: Weights, seen: dict[str, Any]) -> list[str]:
    """Why the neck or the head cannot be built here."""
    known = {name.value for name in DetectorName}
    if detector not in known:
        return [f"supported are {', '.join(sorted(known))} with an FPN"]
    levels = _count(neck, r"fpn_convs\.(\d+)\.")
    laterals = _count(neck, r"lateral_convs\.(\d+)\.")
    towers = [_count(head, rf"{kind}_convs\.(\d+)\.") for kind in ("cls", "reg")]
    faults = {
        f"the FPN has {laterals} lateral and {levels} output convolutions; 3 and {len(STRIDES)} "
        "are built here": (laterals, levels) != (3, len(STRIDES)),
        f"neck and head have {seen['neck_width']} and {seen['head_width']} channels; one width is "
        "built here": seen["neck_width"] != seen["head_width"],
        f"the towers have {towers[0]} and {towers[1]} convolutions; as many in both are built "
        "here": towers[0] != towers[1] or not towers[0],
        f"the head's norm is {seen['norms']['head']}; GN is built here": seen["norms"]["head"]
        != "GN",
        f"the neck's norm is {seen['norms']['neck']}; none is built here": seen["norms"]["neck"]
        != "none",
        f"the predictor gives {seen['classes']} classes": not seen["classes"],
    }
    return [fault for fault, found in faults.items() if found]
