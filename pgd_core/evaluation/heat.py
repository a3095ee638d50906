"""Values of positions as maps of pixels: quality scores (Fig. 2), distillation masks (Fig. 1)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from pgd_core.detectors.build import STRIDES
from pgd_core.distill import PgdParameters
from pgd_core.distill.parameters import STRATEGIES
from pgd_core.distill.quality import inside_boxes
from pgd_core.distill.weighting import distillation_masks, split_levels
from pgd_core.evaluation.dense import DenseLook
from pgd_core.evaluation.sheets import BRANCH_NAMES, HeatRow

LONGEST_SIDE = 480  # pixels of a panel; a larger picture is drawn smaller


def quality_row(look: DenseLook, image: int, xi: Mapping[str, float]) -> HeatRow:
    """One picture's quality scores, a column for each branch (Fig. 2)."""
    valid = look.truth.valid[image]
    columns = {
        f"{BRANCH_NAMES[branch]}, ξ = {xi[branch]:g}": quality[image, valid]
        for branch, quality in look.quality.items()
    }
    return _row(look, image, columns)


def mask_rows(look: DenseLook, images: Sequence[int], hyper: PgdParameters) -> list[HeatRow]:
    """Each picture's foreground of the classification branch, a column a strategy (Fig. 1)."""
    masks = {
        strategy: distillation_masks(
            look.predictions, look.truth, replace(hyper, strategy=strategy)
        ).cls_importance
        for strategy in STRATEGIES
    }
    rows = []
    for image in images:
        objects = int(look.truth.valid[image].sum())
        columns = {str(name): mask[image].expand(objects, -1) for name, mask in masks.items()}
        rows.append(_row(look, image, columns))
    return rows


def _row(
    look: DenseLook,
    image: int,
    columns: Mapping[str, Tensor],  # by title (G, A)  a row for each object of the image
) -> HeatRow:
    picture, predictions = look.pictures[image], look.predictions
    height, width = picture.shape[1:]
    scale = min(1.0, LONGEST_SIDE / max(height, width))
    size = (max(1, round(height * scale)), max(1, round(width * scale)))
    drawn = F.interpolate(picture[None].float(), size, mode="area")[0].round().byte()
    boxes = look.truth.boxes[image, look.truth.valid[image]]
    return HeatRow(
        image=drawn.flip(0).permute(1, 2, 0).cpu().numpy(),
        boxes=(boxes * scale).cpu().numpy(),
        caption=f"image {look.samples[image].img_id}",
        columns={
            title: heat_map(
                values, boxes, predictions.points, predictions.level_sizes, STRIDES, size, scale
            )
            for title, values in columns.items()
        },
    )


def heat_map(
    values: Tensor,  # (G, A)  a row for each object
    boxes: Tensor,  # (G, 4)  XYXY, pixels of the input picture
    points: Tensor,  # (A, 2)  (x, y), the same pixels
    level_sizes: tuple[tuple[int, int], ...],
    strides: Sequence[int],  # of the levels, pixels
    size: tuple[int, int],  # (height, width) of the map
    scale: float = 1.0,  # of the map to the input picture
) -> NDArray[Any]:  # (height, width)  float32
    """At each pixel the greatest value over levels and objects; 0 outside the objects' boxes.

    A pixel has the value of each level's nearest position: a position is drawn as a cell as wide
    as its level's stride, which ends with the box, as the indicator of Eq. 1 does.
    """
    height, width = size
    x, y = ((torch.arange(n, device=points.device) + 0.5) / scale for n in (width, height))
    pixels = torch.stack(torch.meshgrid(x, y, indexing="xy"), dim=-1)  # (height, width, 2)
    heat = points.new_zeros(len(values), height, width)
    first = 0
    for at_level, stride in zip(split_levels(values, level_sizes), strides, strict=True):
        spread = _at_pixels(at_level.to(points), points[first], stride, pixels)
        heat = torch.maximum(heat, spread)
        first += at_level.shape[1] * at_level.shape[2]
    inside = inside_boxes(pixels.reshape(-1, 2), boxes[None])[0].view(-1, height, width)
    heat = heat * inside
    best = heat.amax(dim=0) if len(heat) else heat.new_zeros(height, width)
    return best.float().cpu().numpy()


def _at_pixels(
    level: Tensor,  # (G, H, W)
    origin: Tensor,  # (2,)  (x, y) of the level's first position, pixels
    stride: int,
    pixels: Tensor,  # (height, width, 2)  (x, y)
) -> Tensor:  # (G, height, width)
    """The nearest position's value."""
    cells = (pixels - origin) / stride + 0.5  # a cell reaches half a stride around its position
    grid = 2 * cells / cells.new_tensor([level.shape[2], level.shape[1]]) - 1
    return F.grid_sample(
        level[None], grid[None], mode="nearest", padding_mode="border", align_corners=False
    )[0]
