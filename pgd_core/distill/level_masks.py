"""Boxes and usable positions as masks over the cells of an FPN level.

Cell (i, j) of a level is its row i and column j. Letters as in `inputs`.
"""

from __future__ import annotations

import torch
from torch import Tensor

from pgd_core.distill.inputs import GroundTruth, TeacherPredictions
from pgd_core.distill.quality import inside_boxes, inside_images
from pgd_core.distill.weighting import split_levels


def covered_cells(
    first: Tensor,  # (N, G, 2)  (column, row) of each box's first cell
    last: Tensor,  # (N, G, 2)  (column, row) of its last cell, which it covers too
    size: tuple[int, int],  # (H, W)
) -> Tensor:  # (N, G, H, W)  bool
    """Which cells of the level each box covers: those between its first and its last."""
    rows, columns = (torch.arange(cells, device=first.device) for cells in size)
    (first_column, first_row), (last_column, last_row) = (
        corner[..., None].unbind(dim=-2) for corner in (first, last)
    )
    in_rows = (first_row <= rows) & (rows <= last_row)
    in_columns = (first_column <= columns) & (columns <= last_column)
    return in_rows[..., :, None] & in_columns[..., None, :]


@torch.no_grad()
def usable_cells(
    predictions: TeacherPredictions, truth: GroundTruth
) -> list[Tensor]:  # per level (N, H_l, W_l)  bool
    """Cells whose point lies on the image and in no ignore (crowd) region.

    Departure: padding and ignore regions are neither foreground nor background in any method
    that masks by ground truth; the authors of the methods leave them in.
    """
    points = predictions.points
    ignored = inside_boxes(points, truth.ignored_boxes).any(dim=1)
    usable = inside_images(points, truth.image_sizes) & ~ignored
    return split_levels(usable, predictions.level_sizes)


@torch.no_grad()
def cells_on_image(
    predictions: TeacherPredictions, truth: GroundTruth
) -> list[Tensor]:  # per level (N, H_l, W_l)  bool
    """Cells whose point lies on the image itself, not on padding."""
    on_image = inside_images(predictions.points, truth.image_sizes)
    return split_levels(on_image, predictions.level_sizes)
