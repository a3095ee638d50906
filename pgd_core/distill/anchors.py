"""Anchors against objects: where to imitate (FGFI), and which anchors ATSS takes for positive.

Letters as in `inputs`; K candidates an object.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from pgd_core.distill.inputs import GroundTruth, Scene
from pgd_core.distill.quality import pairwise_iou
from pgd_core.errors import InvalidSpec

_CANDIDATES = 9  # of an object on each level, as the five detectors' ATSS takes them
_INSIDE_PX = 0.01  # a candidate's centre lies at least so far inside the object's box


@dataclass(frozen=True)
class AnchorAssignment:
    """What ATSS says of every anchor, and of those it nearly took."""

    positive: Tensor  # (N, A)  bool; assigned to some object
    valuable: Tensor  # (N, A)  bool; not positive, DIoU from a quarter of a threshold up to it


def anchors_of(scene: Scene) -> Tensor:  # (A, 4)  XYXY, pixels
    """The detector's anchors; InvalidSpec where it has none."""
    if scene.predictions.anchors is None:
        raise InvalidSpec("this method needs anchors, which FCOS and AutoAssign do not have")
    return scene.predictions.anchors


@torch.no_grad()
def imitation_region(
    anchors: Tensor,  # (A, 4)  XYXY, pixels
    truth: GroundTruth,
    share: float = 0.5,
) -> Tensor:  # (N, A)  bool
    """Anchors whose IoU with an object is above that share of the object's best IoU."""
    ious = _ious(anchors, truth)
    near = ious > share * ious.amax(dim=2, keepdim=True)
    return (near & truth.valid[..., None]).any(dim=1)


@torch.no_grad()
def atss_assignment(
    anchors: Tensor,  # (A, 4)  XYXY, pixels; levels concatenated
    level_sizes: tuple[tuple[int, int], ...],
    truth: GroundTruth,
) -> AnchorAssignment:
    """Adaptive Training Sample Selection: of the anchors nearest to an object on each level, those
    whose IoU reaches the candidates' mean plus standard deviation, with the centre in the box.

    Source: Zhang et al., Bridging the Gap between Anchor-based and Anchor-free Detection, 2020.
    The valuable region is Localization Distillation's (Zheng et al., 2022).
    """
    ious = _ious(anchors, truth)
    centres = (anchors[:, :2] + anchors[:, 2:]) / 2
    candidates = _candidates(centres, truth, level_sizes)
    of_candidates = ious.gather(2, candidates)
    mean = of_candidates.mean(dim=2, keepdim=True)
    squares = (of_candidates - mean).square().sum(dim=2, keepdim=True)
    threshold = mean + (squares / max(1, candidates.shape[2] - 1)).sqrt()
    is_candidate = torch.zeros_like(ious, dtype=torch.bool).scatter_(2, candidates, True)
    taken = is_candidate & (ious >= threshold) & _centre_is_inside(centres, truth)
    positive = (taken & truth.valid[..., None]).any(dim=1)
    distance_ious = ious - _centre_distance_share(anchors, truth)
    nearly = (distance_ious >= 0.25 * threshold) & (distance_ious < threshold)
    valuable = (nearly & truth.valid[..., None]).any(dim=1) & ~positive
    return AnchorAssignment(positive, valuable)


def _ious(anchors: Tensor, truth: GroundTruth) -> Tensor:  # (N, G, A)
    return pairwise_iou(truth.boxes, anchors.expand(len(truth.boxes), -1, -1))


def _candidates(
    centres: Tensor,  # (A, 2)
    truth: GroundTruth,
    level_sizes: tuple[tuple[int, int], ...],
) -> Tensor:  # (N, G, K)  int64
    object_centres = (truth.boxes[..., :2] + truth.boxes[..., 2:]) / 2
    distances = (object_centres[..., None, :] - centres).square().sum(dim=-1)
    chosen, start = [], 0
    for height, width in level_sizes:
        of_level = distances[..., start : start + height * width]
        nearest = of_level.topk(min(_CANDIDATES, height * width), dim=2, largest=False).indices
        chosen.append(nearest + start)
        start += height * width
    return torch.cat(chosen, dim=2)


def _centre_is_inside(centres: Tensor, truth: GroundTruth) -> Tensor:  # (N, G, A)  bool
    boxes = truth.boxes[..., None, :]
    sides = torch.cat([centres - boxes[..., :2], boxes[..., 2:] - centres], dim=-1)
    return sides.amin(dim=-1) > _INSIDE_PX


def _centre_distance_share(anchors: Tensor, truth: GroundTruth) -> Tensor:  # (N, G, A)
    """Squared distance of the centres over the squared diagonal of the box around both."""
    boxes = truth.boxes[..., None, :]
    centre_distance = (boxes[..., :2] + boxes[..., 2:] - anchors[:, :2] - anchors[:, 2:]) / 2
    around = torch.maximum(boxes[..., 2:], anchors[:, 2:]) - torch.minimum(
        boxes[..., :2], anchors[:, :2]
    )
    diagonal = around.square().sum(dim=-1).clamp(min=torch.finfo(around.dtype).eps)
    return centre_distance.square().sum(dim=-1) / diagonal
