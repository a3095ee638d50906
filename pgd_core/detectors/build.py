"""From a `DetectorSpec` to MMDetection's config and model.

The heads are MMDetection's own configurations of the five detectors, with GroupNorm in the towers
of all five as in the authors' release. Test settings: score 0.05, NMS 0.6 (FCOS 0.5), 100 boxes
(500 on CrowdHuman).
"""

from __future__ import annotations

from types import MethodType
from typing import Any, cast

import torch
from mmdet.registry import MODELS
from mmdet.utils import register_all_modules
from mmengine.config import ConfigDict
from torch import Tensor, nn

from pgd_core.detectors.timm_nets import feature_levels
from pgd_core.jobs.spec import BackboneName, BackboneSpec, DetectorName, DetectorSpec

Config = dict[str, Any]

STRIDES = [8, 16, 32, 64, 128]
PIXEL_MEAN = [123.675, 116.28, 103.53]  # RGB, ImageNet
PIXEL_STD = [58.395, 57.12, 57.375]
RESNET_DEPTHS = {
    BackboneName.RESNET18: 18,
    BackboneName.RESNET34: 34,
    BackboneName.RESNET50: 50,
    BackboneName.RESNET101: 101,
}
# Channels of MobileNetV2's stages at width 1
MOBILENET_BLOCKS = {
    f"layer{stage}": channels for stage, channels in enumerate((16, 24, 32, 64, 96, 160, 320), 1)
}
MOBILENET_CHANNELS = (24, 32, 96, 320)  # of the last block at strides 4, 8, 16 and 32


def build_detector(
    spec: DetectorSpec, num_classes: int, size_divisor: int = 32, max_detections: int = 100
) -> nn.Module:
    """The detector with random weights; neck and head as MMDetection initialises them."""
    register_all_modules(init_default_scope=True)
    config = ConfigDict(detector_config(spec, num_classes, size_divisor, max_detections))
    model = MODELS.build(config)
    if spec.backbone.name is BackboneName.MOBILENET_V2:
        model.backbone.conv2.requires_grad_(False)  # the classifier's: computed, but no output
    if spec.backbone.timm_name is not None:
        for unused in feature_levels(spec.backbone.timm_name).unused:
            model.backbone.get_parameter(unused).requires_grad_(False)
    for module in model.modules():
        if isinstance(module, nn.Conv2d) and (module.kernel_size, module.stride) == (
            (3, 3),
            (2, 2),
        ):
            module.register_forward_pre_hook(_widen_narrow_map)
    model.bbox_head.loss_by_feat = MethodType(_loss_in_full_precision, model.bbox_head)
    return cast(nn.Module, model.to(memory_format=torch.channels_last))  # faster on CPU and GPU


def _loss_in_full_precision(head: Any, *inputs: Any) -> Any:
    """The head's losses in float32 under autocast too: AutoAssign's fail in half precision, and
    GFL's boxes lose their digits there."""
    *outputs, truth, metas, ignored = inputs
    outputs = [[level.float() for level in maps] for maps in outputs]
    with torch.autocast(outputs[0][0].device.type, enabled=False):
        return type(head).loss_by_feat(head, *outputs, truth, metas, ignored)


def _widen_narrow_map(
    _conv: nn.Module,
    inputs: tuple[Tensor],  # (N, C, H, W)
) -> tuple[Tensor] | None:
    """Keep torch's CPU library from a bug: at W = 1 its bfloat16 weight gradient of a 3x3 conv of
    stride 2 reads memory that nobody wrote. A column of the padding's zeros changes no output."""
    (map_,) = inputs
    if map_.shape[-1] == 1 and map_.device.type == "cpu" and torch.is_autocast_enabled("cpu"):
        return (nn.functional.pad(map_, (0, 1)),)
    return None


def detector_config(
    spec: DetectorSpec, num_classes: int, size_divisor: int = 32, max_detections: int = 100
) -> Config:
    """The `model` part of an MMDetection config; plain MMDetection builds the same from it."""
    backbone, channels = _backbone(spec.backbone)
    name, head, iou_threshold, train_cfg = HEADS[spec.detector]
    return {
        "type": name,
        "data_preprocessor": {
            "type": "DetDataPreprocessor",
            "mean": PIXEL_MEAN,
            "std": PIXEL_STD,
            "bgr_to_rgb": True,
            "pad_size_divisor": size_divisor,
        },
        "backbone": backbone,
        "neck": {
            "type": "FPN",
            "in_channels": channels,
            "out_channels": spec.head_width,
            "start_level": len(channels) - 3,  # from stride 8 on
            "add_extra_convs": "on_output",
            "num_outs": len(STRIDES),
            "relu_before_extra_convs": spec.detector in ANCHOR_FREE,
        },
        "bbox_head": {
            **head,
            "num_classes": num_classes,
            "in_channels": spec.head_width,
            "feat_channels": spec.head_width,
            "stacked_convs": spec.head_convs,
            "norm_cfg": {"type": "GN", "num_groups": spec.norm_groups, "requires_grad": True},
        },
        "train_cfg": train_cfg,
        "test_cfg": {
            "nms_pre": 1000,
            "min_bbox_size": 0,
            "score_thr": 0.05,
            "nms": {"type": "nms", "iou_threshold": iou_threshold},
            "max_per_img": max_detections,
        },
    }


def _backbone(spec: BackboneSpec) -> tuple[Config, list[int]]:
    """The backbone's config and the channels of its outputs, the last at strides 8, 16 and 32."""
    pretrained = spec.weights != "none"
    freeze_norm = pretrained if spec.freeze_batch_norm is None else spec.freeze_batch_norm
    frozen = (1 if pretrained else -1) if spec.frozen_stages is None else spec.frozen_stages
    if spec.timm_name is not None:
        levels = feature_levels(spec.timm_name)
        return {
            "type": "TimmBackbone",
            "model_name": spec.timm_name,
            "out_indices": levels.indices,
            "freeze_batch_norm": freeze_norm,
        }, list(levels.channels)
    common = {
        "frozen_stages": frozen,
        "norm_cfg": {"type": "BN", "requires_grad": not freeze_norm},
        "norm_eval": freeze_norm,
    }
    if spec.name is BackboneName.MOBILENET_V2:
        config = {"type": "MobileNetV2", "widen_factor": spec.width, "out_indices": (1, 2, 4, 6)}
        return {**config, **common}, [divisible_by_8(c * spec.width) for c in MOBILENET_CHANNELS]
    depth = RESNET_DEPTHS[BackboneName(spec.name)]
    config = {"type": "ResNet", "depth": depth, "out_indices": (0, 1, 2, 3), "style": "pytorch"}
    expansion = 1 if depth < 50 else 4
    return {**config, **common}, [width * expansion for width in (64, 128, 256, 512)]


def divisible_by_8(channels: float) -> int:
    """MobileNetV2's rounding: to a multiple of 8, never losing more than a tenth."""
    rounded = max(8, int(channels + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * channels else rounded


ANCHOR_FREE = frozenset({DetectorName.FCOS, DetectorName.AUTOASSIGN})
_FOCAL = {"type": "FocalLoss", "use_sigmoid": True, "gamma": 2.0, "alpha": 0.25, "loss_weight": 1.0}
_BINARY = {"type": "CrossEntropyLoss", "use_sigmoid": True, "loss_weight": 1.0}
_ANCHORS = {
    "type": "AnchorGenerator",
    "ratios": [1.0],
    "octave_base_scale": 8,
    "scales_per_octave": 1,
    "strides": STRIDES,
}
_DELTAS = {
    "type": "DeltaXYWHBBoxCoder",
    "target_means": [0.0, 0.0, 0.0, 0.0],
    "target_stds": [0.1, 0.1, 0.2, 0.2],
}
_SAMPLING = {"allowed_border": -1, "pos_weight": -1, "debug": False}
_ATSS_SAMPLING = {"assigner": {"type": "ATSSAssigner", "topk": 9}, **_SAMPLING}

# detector: (type, head, IoU threshold of the NMS, train_cfg)
HEADS: dict[DetectorName, tuple[str, Config, float, Config | None]] = {
    DetectorName.FCOS: (
        "FCOS",
        {
            "type": "FCOSHead",
            "strides": STRIDES,
            "norm_on_bbox": True,
            "centerness_on_reg": True,
            "center_sampling": True,
            "loss_cls": _FOCAL,
            "loss_bbox": {"type": "GIoULoss", "loss_weight": 1.0},
            "loss_centerness": _BINARY,
        },
        0.5,
        None,
    ),
    DetectorName.AUTOASSIGN: (
        "AutoAssign",
        {
            "type": "AutoAssignHead",
            "strides": STRIDES,
            "loss_bbox": {"type": "GIoULoss", "loss_weight": 5.0},
        },
        0.6,
        None,
    ),
    DetectorName.ATSS: (
        "ATSS",
        {
            "type": "ATSSHead",
            "anchor_generator": _ANCHORS,
            "bbox_coder": _DELTAS,
            "loss_cls": _FOCAL,
            "loss_bbox": {"type": "GIoULoss", "loss_weight": 2.0},
            "loss_centerness": _BINARY,
        },
        0.6,
        _ATSS_SAMPLING,
    ),
    DetectorName.GFL: (
        "GFL",
        {
            "type": "GFLHead",
            "anchor_generator": _ANCHORS,
            "reg_max": 16,
            "loss_cls": {
                "type": "QualityFocalLoss",
                "use_sigmoid": True,
                "beta": 2.0,
                "loss_weight": 1.0,
            },
            "loss_dfl": {"type": "DistributionFocalLoss", "loss_weight": 0.25},
            "loss_bbox": {"type": "GIoULoss", "loss_weight": 2.0},
        },
        0.6,
        _ATSS_SAMPLING,
    ),
    DetectorName.DDOD: (
        "DDOD",
        {
            "type": "DDODHead",
            "anchor_generator": _ANCHORS,
            "bbox_coder": _DELTAS,
            "loss_cls": _FOCAL,
            "loss_bbox": {"type": "GIoULoss", "loss_weight": 2.0},
            "loss_iou": _BINARY,
        },
        0.6,
        {
            "assigner": {"type": "ATSSAssigner", "topk": 9, "alpha": 0.8},
            "reg_assigner": {"type": "ATSSAssigner", "topk": 9, "alpha": 0.5},
            **_SAMPLING,
        },
    ),
}
