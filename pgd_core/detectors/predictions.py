"""A teacher's raw head outputs as points, boxes and class logits at every position of every level.

Letters: N images, A positions over all levels, C classes. Each of the five heads predicts one box a
position. Points (x, y) are the priors' centres and boxes XYXY, both in pixels of the padded input.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import singledispatch
from typing import Any

import torch
from mmdet.models.dense_heads import (
    ATSSHead,
    DDODHead,
    FCOSHead,
    GFLHead,
)
from mmdet.structures.bbox import distance2bbox
from torch import Tensor, nn

from pgd_core.distill import TeacherPredictions

Decoded = tuple[Tensor, Tensor, Tensor | None]  # points (A, 2), boxes (N, A, 4), anchors (A, 4)

Outputs = tuple[Sequence[Tensor], ...]  # of a head: per output, per level (N, channels, H_l, W_l)


def head_predictions(head: nn.Module, outputs: Outputs) -> TeacherPredictions:
    """Decode what `head` gave in evaluation mode; in float32, under autocast too."""
    class_scores, box_outputs = outputs[0], outputs[1]
    sizes = level_sizes(class_scores)
    flat = [flattened(level) for level in box_outputs]
    with torch.autocast(class_scores[0].device.type, enabled=False):
        points, boxes, anchors = _decode(head, sizes, flat)
    logits = torch.cat([flattened(level) for level in class_scores], dim=1)
    return TeacherPredictions(
        points=points,
        boxes=boxes,
        class_logits=logits.float(),
        level_sizes=sizes,
        anchors=anchors,
    )


def decoded_boxes(head: nn.Module, outputs: Outputs) -> Tensor:  # (N, A, 4)
    """The boxes alone; sizes stay symbols where a graph is being made."""
    return _decode(head, level_sizes(outputs[0]), [flattened(level) for level in outputs[1]])[1]


def level_sizes(maps: Sequence[Tensor]) -> tuple[tuple[int, int], ...]:
    """(H_l, W_l) of each level."""
    return tuple((level.shape[-2], level.shape[-1]) for level in maps)


def flattened(
    level: Tensor,  # (N, channels, H, W)
) -> Tensor:  # (N, H·W, channels)
    """Positions of a level in the order of its points."""
    return level.flatten(2).transpose(1, 2)


@singledispatch
def _decode(head: nn.Module, _sizes: Sequence[tuple[int, int]], _flat: list[Tensor]) -> Decoded:
    raise TypeError(f"no decoding is known for a head of type {type(head).__name__}")


@_decode.register(FCOSHead)  # and AutoAssign's, a kind of it
def _decode_distances(head: Any, sizes: Sequence[tuple[int, int]], flat: list[Tensor]) -> Decoded:
    """Left, top, right, bottom in pixels: both heads multiply by the stride in evaluation mode."""
    distances = torch.cat(flat, dim=1).float()
    points = torch.cat(head.prior_generator.grid_priors(list(sizes), device=distances.device))
    points = points.to(distances)
    return points, distance2bbox(points[None], distances), None


@_decode.register(ATSSHead)
@_decode.register(DDODHead)
def _decode_deltas(head: Any, sizes: Sequence[tuple[int, int]], flat: list[Tensor]) -> Decoded:
    """Offsets of anchor boxes."""
    deltas = torch.cat(flat, dim=1).float()
    anchors = _anchors(head, sizes, deltas)
    images, positions, _ = deltas.shape
    boxes = head.bbox_coder.decode(
        anchors.expand(images, -1, -1).reshape(-1, 4), deltas.reshape(-1, 4)
    )
    return _centres(anchors), boxes.reshape(images, positions, 4), anchors


@_decode.register(GFLHead)
def _decode_distribution(
    head: Any, sizes: Sequence[tuple[int, int]], flat: list[Tensor]
) -> Decoded:
    """The mean of each side's distribution, in units of its level's own stride.

    Departure: the release takes the stride 8·2^i of image i; ours is the level's.
    """
    strides = head.prior_generator.strides
    distances = torch.cat(
        [
            head.integral(level.float()).reshape(level.shape[0], -1, 4) * stride[0]
            for level, stride in zip(flat, strides, strict=True)
        ],
        dim=1,
    )
    anchors = _anchors(head, sizes, distances)
    points = _centres(anchors)
    return points, distance2bbox(points[None], distances), anchors


def _anchors(head: Any, sizes: Sequence[tuple[int, int]], like: Tensor) -> Tensor:  # (A, 4) XYXY
    anchors = torch.cat(head.prior_generator.grid_priors(list(sizes), device=like.device))
    return anchors.to(like)


def _centres(boxes: Tensor) -> Tensor:
    return (boxes[..., :2] + boxes[..., 2:]) / 2
