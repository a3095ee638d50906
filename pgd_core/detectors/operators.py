"""MMCV's compiled operators, in plain PyTorch: `mmdet` works on `mmcv-lite`, without a compiler.

`import` this file before `mmdet` or `mmcv.ops`. Where the compiled `mmcv._ext` is absent it puts a
module of that name into `sys.modules`; where it is present it does nothing. The order is:

    compiled operators  →  torchvision's, where it is installed  →  the ones below

All three give the same results and the same parameter names, so that checkpoints interchange.
Provided: nms, sigmoid focal loss, deformable convolution v1 and v2. Any other operator raises
NotImplementedError, with its name, when it is called.

This file needs torch alone. It is also shipped beside an exported detector, as `mmcv_operators.py`:

    import mmcv_operators, mmdet

The functions have the argument names and the order of the C++ ones, because `mmcv.ops` calls them.
Letters: B images, C channels, (H, W) rows and columns, N boxes, K kernel cells, D deform groups.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib.machinery import ModuleSpec, PathFinder
from importlib.util import find_spec
from types import ModuleType
from typing import NoReturn

import torch
from torch import Tensor

try:
    import torchvision
except (ImportError, OSError, RuntimeError):  # absent, or built for another torch
    torchvision = None

EXTENSION = "mmcv._ext"
IOU_MATRIX_CELLS = 1 << 22  # of one step of nms: 16 MB a float matrix


def install() -> None:
    """Gives `mmcv.ops` its operators, unless the compiled ones, or ours, are there already."""
    if EXTENSION not in sys.modules and not _compiled_operators_exist():
        sys.modules[EXTENSION] = _Extension()


def _compiled_operators_exist() -> bool:
    mmcv = find_spec("mmcv")
    folders = mmcv.submodule_search_locations if mmcv else None
    return bool(folders) and PathFinder.find_spec(EXTENSION, folders) is not None


class _Extension(ModuleType):
    """What `mmcv.ops` takes for its compiled module; it has every operator, few of them work."""

    def __init__(self) -> None:
        super().__init__(EXTENSION, "MMCV's operators in plain PyTorch.")
        self.__spec__ = ModuleSpec(EXTENSION, loader=None)
        for operator in OPERATORS:
            setattr(self, operator.__name__, operator)

    def __getattr__(self, name: str) -> Callable[..., NoReturn]:
        if name.startswith("__"):
            raise AttributeError(name)

        def missing_operator(*_: object, **__: object) -> NoReturn:
            raise NotImplementedError(
                f"mmcv's operator {name} exists only compiled, and this is mmcv-lite; install the "
                "compiled mmcv of the same version (pip uninstall mmcv-lite, then mim install mmcv)"
            )

        return missing_operator


# ── non-maximum suppression ─────────────────────────────────────────────────────────────────────


@torch.no_grad()
def nms(
    boxes: Tensor,  # (N, 4)  XYXY, pixels
    scores: Tensor,  # (N,)
    iou_threshold: float,
    offset: int,  # 0 or 1, added to each side: 1 counts the pixels of a box
) -> Tensor:  # (kept,) int64  indices, highest score first
    """Which boxes greedy suppression keeps: those that no kept, higher-scored box overlaps.

    Of equal scores the first box goes first. Overlap is IoU > iou_threshold, in float32.
    """
    boxes = boxes.to(torch.promote_types(boxes.dtype, torch.float32))
    order = scores.argsort(descending=True, stable=True)
    if torchvision is not None and offset == 0:
        kept: Tensor = torchvision.ops.nms(boxes[order], -order.argsort().to(boxes), iou_threshold)
        return order[kept]
    return order[_suppress(boxes[order], iou_threshold, offset)]


def _suppress(
    boxes: Tensor,  # (N, 4)  XYXY, pixels; best first
    iou_threshold: float,
    offset: int,
) -> Tensor:  # (kept,) int64  ascending
    """Block by block: settle the best boxes still alive, then drop all that they overlap."""
    alive = torch.arange(len(boxes), device=boxes.device)
    kept = [alive[:0]]
    while len(alive):
        block = max(1, IOU_MATRIX_CELLS // len(alive))
        overlaps = _overlaps(boxes[alive[:block]], boxes[alive], iou_threshold, offset)
        keep = _settle(overlaps[:, :block])
        kept.append(alive[:block][keep])
        alive = alive[block:][~overlaps[keep, block:].any(0)]
    return torch.cat(kept)


def _overlaps(
    boxes: Tensor,  # (M, 4)  XYXY, pixels
    others: Tensor,  # (N, 4)
    iou_threshold: float,
    offset: int,
) -> Tensor:  # (M, N) bool
    """Which pairs have IoU > iou_threshold; the operations are in the order of the C++ ones."""
    x1, y1, x2, y2 = boxes[:, :, None].unbind(1)  # (M, 1)
    other_x1, other_y1, other_x2, other_y2 = others.unbind(1)  # (N,)
    areas = (x2 - x1 + offset) * (y2 - y1 + offset)
    other_areas = (other_x2 - other_x1 + offset) * (other_y2 - other_y1 + offset)
    widths = (torch.minimum(x2, other_x2) - torch.maximum(x1, other_x1)).add_(offset).clamp_(min=0)
    heights = (torch.minimum(y2, other_y2) - torch.maximum(y1, other_y1)).add_(offset)
    intersections = widths.mul_(heights.clamp_(min=0))
    return intersections / (areas + other_areas).sub_(intersections) > iou_threshold


def _settle(overlaps: Tensor) -> Tensor:  # (M, M) bool, best first → (M,) bool
    """The one set of boxes of which each is kept if and only if no better kept box overlaps it.

    After n rounds the first n boxes are right for good, so the rounds end at the greedy answer; a
    round more than the longest chain of suppressions, which is short, suffices.
    """
    overlaps = overlaps.triu(1)
    keep = torch.ones(len(overlaps), dtype=torch.bool, device=overlaps.device)
    while True:
        settled = ~overlaps[keep].any(0)
        if torch.equal(settled, keep):
            return keep
        keep = settled


OPERATORS: tuple[Callable[..., object], ...] = (nms,)

install()
