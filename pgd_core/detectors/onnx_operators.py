"""Two operators in a form that ONNX has: non-maximum suppression and deformable convolution.

Letters: N images, K candidate boxes, C channels, (H, W) rows and columns.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from mmcv.ops import DeformConv2d, DeformConv2dPack
from torch import Tensor, nn

from pgd_core.detectors import operators

NO_SCORE = -1.0  # of a candidate that is none
_LEAST_SCORE = -0.5  # suppression looks at scores above it


class NonMaxSuppression(torch.autograd.Function):
    """Greedy suppression in each image; in a graph it is ONNX's operator of the same name.

    Takes boxes (N, K, 4) XYXY, scores (N, 1, K) with NO_SCORE where there is no candidate, the most
    boxes to keep in an image, and the IoU above which a box falls. Gives (kept, 3) int64: image,
    0 and candidate of each box that stays.
    """

    @staticmethod
    def forward(
        _ctx: object,
        boxes: Tensor,
        scores: Tensor,
        most: int,
        iou_threshold: float,
    ) -> Tensor:
        if (
            torch.onnx.is_in_onnx_export()
        ):  # a graph takes the operator, and only the shape from here
            return torch.zeros(1, 3, dtype=torch.int64)
        rows = []
        for image, (own_boxes, own_scores) in enumerate(zip(boxes, scores[:, 0], strict=True)):
            candidates = (own_scores > _LEAST_SCORE).nonzero()[:, 0]
            kept = operators.nms(own_boxes[candidates], own_scores[candidates], iou_threshold, 0)
            kept = candidates[kept[:most]]
            rows.append(F.pad(kept[:, None], (2, 0)))
            rows[-1][:, 0] = image
        return torch.cat(rows)

    @staticmethod
    def symbolic(g: Any, boxes: Any, scores: Any, most: int, iou_threshold: float) -> Any:
        """The node that stands for it."""
        limits = (torch.tensor([most]), *map(torch.tensor, ([iou_threshold], [_LEAST_SCORE])))
        constants = [g.op("Constant", value_t=limit) for limit in limits]
        return g.op("NonMaxSuppression", boxes, scores, *constants)


def with_basic_convolutions(detector: nn.Module) -> nn.Module:
    """The detector itself, its deformable convolutions replaced by ones of basic operators."""
    for parent in list(detector.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, DeformConv2dPack):
                setattr(parent, name, _BasicDeformableConv(child))
    return detector


class _BasicDeformableConv(nn.Module):
    """A `DeformConv2dPack` as grid sampling and a matrix product, for inputs of any size.

    Source: Dai et al., Deformable Convolutional Networks, Eq. 2. `operators` has the same for
    training; its exact slopes at whole pixels need sizes that are known when a graph is made.
    """

    def __init__(self, conv: DeformConv2d) -> None:
        super().__init__()
        self.conv_offset = conv.conv_offset
        self.weight = conv.weight  # (C_out, C / groups, rows, columns)
        axes = (conv.kernel_size, conv.stride, conv.padding, conv.dilation)
        self.geometry = tuple(zip(*axes, strict=True))  # of rows, of columns
        self.deform_groups, self.groups = conv.deform_groups, conv.groups

    def forward(self, input: Tensor) -> Tensor:  # (N, C, H, W) → (N, C_out, H_out, W_out)
        """Each kernel cell reads the input where its offset says, bilinearly, 0 outside."""
        images, _, height, width = input.shape
        offset = self.conv_offset(input)  # (N, D · cells · 2, H_out, W_out)  (y, x), pixels
        out_size = offset.shape[2:]
        moves = offset.reshape(images * self.deform_groups, -1, 2, *out_size)
        y, x = (moves[:, :, axis] + self._grid(axis, out_size, moves) for axis in (0, 1))
        grid = torch.stack(((2 * x + 1) / width - 1, (2 * y + 1) / height - 1), dim=-1)
        folded = input.reshape(images * self.deform_groups, -1, height, width)
        columns = F.grid_sample(folded, grid.flatten(2, 3), align_corners=False)
        columns = columns.reshape(images, self.groups, -1, out_size[0] * out_size[1])
        weight = self.weight.reshape(self.groups, len(self.weight) // self.groups, -1)
        output: Tensor = weight @ columns
        return output.reshape(images, len(self.weight), *out_size)

    def _grid(self, axis: int, out_size: torch.Size, like: Tensor) -> Tensor:
        """Where the plain convolution reads along an axis: (cells, H_out or 1, W_out or 1)."""
        cells, stride, padding, dilation = self.geometry[axis]
        reads: Tensor = torch.arange(cells).to(like)[:, None] * dilation - padding
        reads = reads + torch.arange(out_size[axis]).to(like) * stride  # (cells, length)
        rows, columns = (geometry[0] for geometry in self.geometry)
        if axis == 0:
            return reads.repeat_interleave(columns, 0)[:, :, None]
        return reads.repeat(rows, 1)[:, None, :]
