"""How well each position of the teacher predicts each object (Eq. 1).

Letters as in `inputs`. The parts of Eq. 1 that do not depend on xi are computed once by
`object_evidence` and serve both branches.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from pgd_core.distill.inputs import GroundTruth, TeacherPredictions


@dataclass(frozen=True)
class ObjectEvidence:
    """What Eq. 1 knows of every pair of object and position, before xi weighs it."""

    class_probs: Tensor  # (N, G, A)  teacher's probability of each object's class
    ious: Tensor  # (N, G, A)  IoU of the object with the box predicted at the position
    eligible: Tensor  # (N, G, A)  bool; inside the object's box, and a usable position
    background: Tensor  # (N, A)  bool; a usable position inside no object's box


@torch.no_grad()
def object_evidence(predictions: TeacherPredictions, truth: GroundTruth) -> ObjectEvidence:
    """Class probabilities, overlaps, and which positions may be foreground or background.

    Departure: padding and ignore (crowd) regions are neither foreground nor background. The
    paper does not speak of them; the release leaves padding in for anchor-free detectors and
    never masks ignore regions.
    Departure: the release's anchor-free in-box test reads x as y; ours does not.
    """
    points = predictions.points
    usable = inside_images(points, truth.image_sizes)
    usable &= ~inside_boxes(points, truth.ignored_boxes).any(dim=1)
    inside = inside_boxes(points, truth.boxes).logical_and_(truth.valid[..., None])
    background = usable & ~inside.any(dim=1)
    return ObjectEvidence(
        class_probs=object_class_probs(predictions.class_logits, truth.labels),
        ious=pairwise_iou(truth.boxes, predictions.boxes),
        eligible=inside.logical_and_(usable[:, None]),
        background=background,
    )


def quality_scores(evidence: ObjectEvidence, xi: float) -> Tensor:  # (N, G, A)  in [0, 1]
    """q = 1[X in b] * p^(1 - xi) * IoU^xi (Eq. 1); 0 where the position is not eligible.

    xi = 0 is classification only, xi = 1 localisation only.
    """
    scores = evidence.class_probs.pow(1 - xi)
    scores *= evidence.ious.pow(xi)
    return scores.mul_(evidence.eligible)


def inside_boxes(
    points: Tensor,  # (A, 2)  (x, y), pixels
    boxes: Tensor,  # (N, G, 4)  XYXY, pixels
) -> Tensor:  # (N, G, A)  bool
    """Whether each point lies strictly inside each box; a box without area holds none."""
    x, y = points.unbind(dim=-1)
    x1, y1, x2, y2 = boxes[..., None].unbind(dim=-2)
    return (x > x1).logical_and_(x < x2).logical_and_(y > y1).logical_and_(y < y2)


def inside_images(
    points: Tensor,  # (A, 2)  (x, y), pixels
    image_sizes: Tensor,  # (N, 2)  (height, width), pixels
) -> Tensor:  # (N, A)  bool
    """Whether each point lies on the image itself, not on the padding to its right and below."""
    height, width = image_sizes[..., None].unbind(dim=-2)
    return (points[:, 0] < width) & (points[:, 1] < height)


def pairwise_iou(
    boxes: Tensor,  # (N, G, 4)  XYXY
    others: Tensor,  # (N, A, 4)  XYXY
) -> Tensor:  # (N, G, A)  in [0, 1]
    """Intersection over union; 0 where both boxes are without area."""
    others = others.to(torch.promote_types(others.dtype, torch.float32))
    x1, y1, x2, y2 = boxes.to(others.dtype)[..., None].unbind(dim=-2)
    other_x1, other_y1, other_x2, other_y2 = others[:, None].unbind(dim=-1)
    width = torch.minimum(x2, other_x2).sub_(torch.maximum(x1, other_x1)).clamp_(min=0)
    height = torch.minimum(y2, other_y2).sub_(torch.maximum(y1, other_y1)).clamp_(min=0)
    intersection = width.mul_(height)
    areas = (x2 - x1).clamp(min=0) * (y2 - y1).clamp(min=0)
    other_areas = (other_x2 - other_x1).clamp(min=0) * (other_y2 - other_y1).clamp(min=0)
    union = torch.add(areas, other_areas, out=height).sub_(intersection)
    return intersection.div_(union.clamp_(min=torch.finfo(union.dtype).eps))


def object_class_probs(
    class_logits: Tensor,  # (N, A, C)  before the sigmoid
    labels: Tensor,  # (N, G)  int64
) -> Tensor:  # (N, G, A)
    """The probability that each position gives to each object's class."""
    index = labels[:, None].expand(-1, class_logits.shape[1], -1)
    logits = class_logits.gather(2, index).transpose(1, 2)
    return logits.to(torch.promote_types(logits.dtype, torch.float32)).sigmoid().contiguous()
