"""How the anchor boxes of a detector overlap the objects.

Letters as in `inputs`. Each position has one anchor, the same in every image.
"""

from __future__ import annotations

import torch
from torch import Tensor

from pgd_core.distill.inputs import GroundTruth, TeacherPredictions
from pgd_core.distill.quality import pairwise_iou
from pgd_core.errors import InvalidSpec


@torch.no_grad()
def anchor_ious(predictions: TeacherPredictions, truth: GroundTruth) -> Tensor:
    """(N, G, A)  in [0, 1]; 0 for padded objects. InvalidSpec for a detector without anchors."""
    ious = pairwise_iou(truth.boxes, _anchors(predictions)[None])
    return ious.mul_(truth.valid[..., None])


@torch.no_grad()
def anchor_dious(
    ious: Tensor,  # (N, G, A)
    predictions: TeacherPredictions,
    truth: GroundTruth,
) -> Tensor:  # (N, G, A)  in (-1, 1]
    """Distance-IoU: IoU less (distance of the centres / diagonal of the box around both)^2."""
    anchors = _anchors(predictions)
    boxes = truth.boxes.to(anchors.dtype)[..., None]
    x1, y1, x2, y2 = boxes.unbind(dim=-2)
    anchor_x1, anchor_y1, anchor_x2, anchor_y2 = anchors.unbind(dim=-1)
    width = torch.maximum(x2, anchor_x2).sub_(torch.minimum(x1, anchor_x1))
    height = torch.maximum(y2, anchor_y2).sub_(torch.minimum(y1, anchor_y1))
    diagonal2 = width.square_().add_(height.square_())
    dx = (anchor_x1 + anchor_x2 - x1 - x2).div_(2)
    dy = (anchor_y1 + anchor_y2 - y1 - y2).div_(2)
    distance2 = dx.square_().add_(dy.square_())
    return ious - distance2.div_(diagonal2.clamp_(min=torch.finfo(diagonal2.dtype).eps))


def _anchors(predictions: TeacherPredictions) -> Tensor:  # (A, 4)  XYXY, pixels
    if predictions.anchors is None:
        raise InvalidSpec(
            "this method compares objects with anchor boxes, and the teacher's detector has none; "
            "choose a teacher of a detector with anchors, or a method that needs none"
        )
    return predictions.anchors
