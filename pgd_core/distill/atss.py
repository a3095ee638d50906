"""Adaptive Training Sample Selection (ATSS): which anchors are an object's, by its own threshold.

It is the label assignment of several detectors; a method that distils where the student learns
boxes needs it too. Letters as in `inputs`; K candidates of each object.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import accumulate

import torch
from torch import Tensor

from pgd_core.distill.inputs import GroundTruth, TeacherPredictions
from pgd_core.distill.quality import inside_images

_INSIDE_PX = 0.01  # an anchor's centre is in a box where it is farther than this from each side


@dataclass(frozen=True)
class Assignment:
    """Where the objects of a batch are learnt."""

    positive: Tensor  # (N, A)  bool; the anchor is some object's
    thresholds: Tensor  # (N, G)  IoU that an object's anchors reach; means nothing where padded


@torch.no_grad()
def atss_assignment(
    ious: Tensor,  # (N, G, A)  of objects and anchors
    predictions: TeacherPredictions,
    truth: GroundTruth,
    candidates_per_level: int,
) -> Assignment:
    """Candidates whose IoU reaches the object's threshold and whose centre is in its box.

    Candidates are the anchors nearest to the object's centre on each level, the threshold is the
    mean of their IoUs plus the standard deviation (over K - 1; 0 for a single candidate). Ignore
    regions have no part in it, as in the detectors.

    Departure: only anchors with their centre on the image are candidates. The detectors count the
    cells that an image has after its own padding to the size divisor, fewer than 32 pixels more.
    """
    positions, is_candidate = _nearest(predictions, truth, candidates_per_level)
    found = ious.gather(2, positions)
    count = is_candidate.sum(dim=2, keepdim=True)
    mean = (found * is_candidate).sum(dim=2, keepdim=True) / count.clamp(min=1)
    deviation2 = ((found - mean).square() * is_candidate).sum(dim=2, keepdim=True)
    threshold = mean + (deviation2 / (count - 1).clamp(min=1)).sqrt()
    points = predictions.points[positions]
    boxes = truth.boxes.to(points.dtype)[:, :, None]
    margin = torch.cat([points - boxes[..., :2], boxes[..., 2:] - points], dim=-1).amin(dim=-1)
    is_positive = is_candidate & (found >= threshold) & (margin > _INSIDE_PX)
    is_positive &= truth.valid[..., None]
    votes = ious.new_zeros(ious.shape[0], ious.shape[2])
    votes.scatter_reduce_(1, positions.flatten(1), is_positive.flatten(1).to(votes.dtype), "amax")
    return Assignment(votes > 0, threshold[..., 0])


def _nearest(
    predictions: TeacherPredictions, truth: GroundTruth, per_level: int
) -> tuple[Tensor, Tensor]:  # both (N, G, K): positions, and whether they are on the image
    points = predictions.points
    boxes = truth.boxes.to(points.dtype)
    centre_x, centre_y = ((boxes[..., :2] + boxes[..., 2:]) / 2)[..., None].unbind(dim=-2)
    distance2 = (points[:, 0] - centre_x).square_().add_((points[:, 1] - centre_y).square_())
    on_image = inside_images(points, truth.image_sizes)
    distance2.masked_fill_(~on_image[:, None], torch.inf)
    areas = [height * width for height, width in predictions.level_sizes]
    nearest, positions = [], []
    for start, area in zip(accumulate(areas, initial=0), areas, strict=False):
        of_level = distance2.narrow(2, start, area).topk(min(per_level, area), largest=False)
        nearest.append(of_level.values)
        positions.append(of_level.indices + start)
    return torch.cat(positions, dim=2), torch.cat(nearest, dim=2).isfinite()
