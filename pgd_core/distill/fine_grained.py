"""The fine-grained region: positions whose anchors fit an object nearly as well as any."""

from __future__ import annotations

import torch
from torch import Tensor

from pgd_core.distill.distances import weighted_squared_error
from pgd_core.distill.inputs import GroundTruth, TeacherPredictions
from pgd_core.distill.level_masks import usable_cells
from pgd_core.distill.weighting import split_levels


@torch.no_grad()
def fine_grained_region(
    ious: Tensor,  # (N, G, A)  of objects and anchors, 0 for padded objects
    predictions: TeacherPredictions,
    truth: GroundTruth,
    iou_share: float,
) -> list[Tensor]:  # per level (N, H_l, W_l)  bool
    """Positions whose anchor has an IoU above `iou_share` times the best IoU of some object.

    An object that overlaps no anchor adds none. Unverified: the best is over the anchors of all
    levels, so that an object's region lies on the levels of its size.

    Departure: padding and ignore (crowd) regions are left out.
    """
    best = ious.amax(dim=2, keepdim=True)
    near = split_levels((ious > iou_share * best).any(dim=1), predictions.level_sizes)
    usable = usable_cells(predictions, truth)
    return [cells & can for cells, can in zip(near, usable, strict=True)]


def imitation_error(
    pairs: list[tuple[Tensor, Tensor]],  # per level two of (N, C, H_l, W_l): teacher, student
    region: list[Tensor],  # per level (N, H_l, W_l)  bool
) -> Tensor:  # scalar
    """Mean of (T - S)^2 over channels and an image's region on all levels, and over images.

    An image without a region counts 0.
    """
    teacher = pairs[0][0]
    images, channels = teacher.shape[:2]
    counts = torch.stack([cells.flatten(1).sum(dim=1) for cells in region]).sum(dim=0)
    share = 1 / (images * channels * counts.clamp(min=1).to(teacher.dtype))
    one = teacher.new_ones(())
    errors = [
        weighted_squared_error(of_student, of_teacher, one, (cells * share[:, None, None])[:, None])
        for (of_teacher, of_student), cells in zip(pairs, region, strict=True)
    ]
    return torch.stack(errors).sum()
