"""MMCV's compiled operators, in plain PyTorch: `mmdet` works on `mmcv-lite`, without a compiler.

`import` this file before `mmdet` or `mmcv.ops`. Where the compiled `mmcv._ext` is absent it puts a
module of that name into `sys.modules`; where it is present it does nothing. The order is:

    compiled operators  →  torchvision's, where it is installed  →  the ones below

All three agree to rounding, and the parameters have the same names: checkpoints interchange.
Provided: nms, sigmoid focal loss, deformable convolution v1 and v2. Any other operator raises
NotImplementedError, with its name, when it is called.

This file needs torch alone. It is also shipped beside an exported detector, as `mmcv_operators.py`:

    import mmcv_operators, mmdet

The functions take their arguments as the C++ ones do, because `mmcv.ops` calls them: results go
into tensors made by the caller. Half precision is computed in float32.
Letters: B images, C channels, (H, W) rows and columns, K kernel cells, D deform groups, N boxes.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from functools import partial
from importlib.machinery import ModuleSpec, PathFinder
from importlib.util import find_spec
from types import ModuleType
from typing import NoReturn

import torch
import torch.nn.functional as F
from torch import Tensor

try:
    import torchvision
except (ImportError, OSError, RuntimeError):  # absent, or built for another torch
    torchvision = None

EXTENSION = "mmcv._ext"
IOU_MATRIX_CELLS = 1 << 19  # of one step of nms: a float matrix of 2 MB stays in a CPU's cache
COLUMN_CELLS = 1 << 27  # of one step of a deformable convolution: 512 MB of sampled input


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

    Of equal scores the first box goes first. To overlap is to have IoU > iou_threshold, in float32.
    """
    boxes = _at_least_float32(boxes)
    iou_threshold = torch.tensor(iou_threshold, dtype=boxes.dtype).item()
    if torchvision is not None and offset == 0:
        kept: Tensor = torchvision.ops.nms(boxes, scores.to(boxes.dtype), iou_threshold)
        return kept
    order = scores.argsort(descending=True, stable=True)
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
        keep = _settle(overlaps[:, :block].triu(1))
        kept.append(alive[:block][keep])
        alive = alive[block:][~_any_row(overlaps[keep, block:])]
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
    widths = torch.minimum(x2, other_x2).sub_(torch.maximum(x1, other_x1)).add_(offset)
    heights = torch.minimum(y2, other_y2).sub_(torch.maximum(y1, other_y1)).add_(offset)
    intersections = widths.clamp_(min=0).mul_(heights.clamp_(min=0))
    unions = (areas + other_areas).sub_(intersections)
    return intersections.div_(unions) > iou_threshold


def _settle(overlaps: Tensor) -> Tensor:  # (M, M) bool, row better than column → (M,) bool
    """The one set of boxes of which each is kept if and only if no better kept box overlaps it.

    After n rounds the first n boxes are right for good, so the rounds end at the greedy answer; one
    round more than the longest chain of suppressions, which is short, suffices.
    """
    keep = torch.ones(len(overlaps), dtype=torch.bool, device=overlaps.device)
    while True:
        settled = ~_any_row(overlaps[keep])
        if torch.equal(settled, keep):
            return keep
        keep = settled


def _any_row(matrix: Tensor) -> Tensor:  # (M > 0, N) bool → (N,) bool
    """`matrix.any(0)`, but the largest of bytes is found tens of times as fast on a CPU."""
    return matrix.view(torch.uint8).amax(0).bool()


# ── sigmoid focal loss ──────────────────────────────────────────────────────────────────────────


def sigmoid_focal_loss_forward(
    input: Tensor,  # (N, C)  logits
    target: Tensor,  # (N,) int64  class of each row; C is background
    weight: Tensor,  # (C,)  factor of the rows of each class, or (0,) for none
    output: Tensor,  # (N, C)  written
    gamma: float,
    alpha: float,
) -> None:
    """-α_t (1 - p_t)^γ log p_t of each logit; p_t is the probability of the right yes or no.

    Source: Lin et al., Focal Loss for Dense Object Detection, Eq. 5.
    Departure: log p_t goes on falling where mmcv's kernel stops, at the log of the least float
    (-87); mmdet's Python version does the same.
    """
    right_logits, factors = _focal_terms(input, target, weight, alpha)
    output.copy_(-factors.abs() * (-right_logits).sigmoid() ** gamma * F.logsigmoid(right_logits))


def sigmoid_focal_loss_backward(
    input: Tensor, target: Tensor, weight: Tensor, grad_input: Tensor, gamma: float, alpha: float
) -> None:
    """-α_t (1 - p_t)^γ (1 - p_t - γ p_t log p_t), the slope by the right answer's logit, signed."""
    right_logits, factors = _focal_terms(input, target, weight, alpha)
    wrong = (-right_logits).sigmoid()  # 1 - p_t
    slope = wrong - gamma * right_logits.sigmoid() * F.logsigmoid(right_logits)
    grad_input.copy_(-factors * wrong**gamma * slope)


def _focal_terms(
    input: Tensor, target: Tensor, weight: Tensor, alpha: float
) -> tuple[Tensor, Tensor]:  # (N, C) each
    """Logits of the right answer, and α_t times the weight: positive where the answer is yes."""
    classes = input.shape[1]
    logits = _at_least_float32(input)
    is_class = target[:, None] == torch.arange(classes, device=target.device)
    factors = torch.where(is_class, alpha, alpha - 1.0).to(logits.dtype)
    if weight.numel():
        is_object = (target >= 0) & (target < classes)
        weights = F.pad(weight, (0, 1), value=1.0)[torch.where(is_object, target, classes)]
        factors = factors * weights[:, None]
    return torch.where(is_class, logits, -logits), factors


# ── deformable convolution ──────────────────────────────────────────────────────────────────────


# (stride, padding, dilation), each (rows, columns)
_Geometry = tuple[tuple[int, int], tuple[int, int], tuple[int, int]]


def deform_conv_forward(
    input: Tensor,  # (B, C, H, W)
    weight: Tensor,  # (C_out, C / groups, K_h, K_w)
    offset: Tensor,  # (B, D * K * 2, H_out, W_out)  (y, x) of each kernel cell, input pixels
    output: Tensor,  # (B, C_out, H_out, W_out)  written
    *_buffers: Tensor,
    **sizes: int,
) -> None:
    """Deformable convolution, version 1: each kernel cell reads the input at its own offset.

    Source: Dai et al., Deformable Convolutional Networks, Eq. 2.
    Departure: an input smaller than the kernel works; the C++ version refuses it. `im2col_step`
    is not read: it changes no result, and COLUMN_CELLS bounds the memory.
    """
    _forward(output, _geometry(sizes), input=input, offset=offset, weight=weight)


def deform_conv_backward_input(*tensors: Tensor, **sizes: int) -> None:
    """Adds the gradients by input and by offset to tensors like them."""
    input, offset, grad_output, grad_input, grad_offset, weight, _columns = tensors
    grads = {"input": grad_input, "offset": grad_offset}
    _backward(grad_output, grads, _geometry(sizes), input=input, offset=offset, weight=weight)


def deform_conv_backward_parameters(*tensors: Tensor, **sizes: int) -> None:
    """Adds the gradient by weight, times `scale`, to a tensor like it."""
    input, offset, grad_output, grad_weight, _columns, _ones = tensors
    any_weight = torch.zeros_like(grad_weight)  # the gradient does not depend on it
    grads = {"weight": grad_weight}
    grad_output = grad_output * sizes["scale"]
    _backward(grad_output, grads, _geometry(sizes), input=input, offset=offset, weight=any_weight)


def modulated_deform_conv_forward(*tensors: Tensor, **sizes: int) -> None:
    """Deformable convolution, version 2: what each kernel cell reads has a factor as well.

    They are in `mask`, (B, D * K, H_out, W_out); the other tensors are as in version 1.
    Source: Zhu et al., Deformable ConvNets v2, Eq. 1.
    """
    input, weight, bias, _ones, offset, mask, output, _columns = tensors
    operands = {"input": input, "offset": offset, "mask": mask, "weight": weight}
    if sizes["with_bias"]:
        operands["bias"] = bias
    _forward(output, _geometry(sizes), **operands)


def modulated_deform_conv_backward(*tensors: Tensor, **sizes: int) -> None:
    """Adds the gradients by input, offset, mask, weight and, if `with_bias`, bias."""
    input, weight, bias, _ones, offset, mask, _columns, *grad_inputs, grad_output = tensors
    operands = {"input": input, "weight": weight, "bias": bias, "offset": offset, "mask": mask}
    grads = dict(zip(operands, grad_inputs, strict=True))
    if not sizes["with_bias"]:
        del operands["bias"], grads["bias"]
    _backward(grad_output, grads, _geometry(sizes), **operands)


def _geometry(sizes: dict[str, int]) -> _Geometry:
    """From the C++ names of version 1 (dH, padH, dilationH...) or 2 (stride_h, pad_h...)."""
    if "dH" in sizes:
        names = ("dH", "dW", "padH", "padW", "dilationH", "dilationW")
    else:
        names = ("stride_h", "stride_w", "pad_h", "pad_w", "dilation_h", "dilation_w")
    a, b, c, d, e, f = (sizes[name] for name in names)
    return (a, b), (c, d), (e, f)


def _forward(output: Tensor, geometry: _Geometry, **operands: Tensor) -> None:
    for images in _steps(output, **operands):
        output[images] = _deform_conv(geometry, **_of(images, operands))


def _backward(
    grad_output: Tensor,
    grads: dict[str, Tensor],  # to be added to, by the operand's name
    geometry: _Geometry,
    **operands: Tensor,
) -> None:
    """Autograd's gradients of the convolution done once more: the forward leaves nothing behind."""
    for images in _steps(grad_output, **operands):
        part = _of(images, operands)
        leaves = {name: part[name].detach().requires_grad_() for name in grads}
        with torch.enable_grad():
            output = _deform_conv(geometry, **(part | leaves))
        found = torch.autograd.grad(output, list(leaves.values()), grad_output[images].to(output))
        for total, grad in zip(_of(images, grads).values(), found, strict=True):
            total.add_(grad)


def _steps(output: Tensor, input: Tensor, weight: Tensor, **_: Tensor) -> Iterator[slice]:
    """As many images at a time as COLUMN_CELLS allows, at least one."""
    cells_per_image = input.shape[1] * weight[0, 0].numel() * output[0, 0].numel()
    step = max(1, COLUMN_CELLS // cells_per_image)
    return (slice(start, start + step) for start in range(0, len(output), step))


def _of(images: slice, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: t if name in ("weight", "bias") else t[images] for name, t in tensors.items()}


def _deform_conv(geometry: _Geometry, **operands: Tensor) -> Tensor:
    """The convolution, differentiable, in float32 at least; its groups follow from the shapes."""
    operands = {name: _at_least_float32(operand) for name, operand in operands.items()}
    stride, padding, dilation = geometry
    with torch.autocast(operands["input"].device.type, enabled=False):
        if torchvision is None:
            return _sample_and_multiply(geometry, **operands)
        output: Tensor = torchvision.ops.deform_conv2d(
            **operands, stride=stride, padding=padding, dilation=dilation
        )
        return output


def _sample_and_multiply(
    geometry: _Geometry,
    input: Tensor,  # (B, C, H, W)
    offset: Tensor,  # (B, D * K * 2, H_out, W_out)
    weight: Tensor,  # (C_out, C / groups, K_h, K_w)
    mask: Tensor | None = None,  # (B, D * K, H_out, W_out)
    bias: Tensor | None = None,  # (C_out,)
) -> Tensor:  # (B, C_out, H_out, W_out)
    """Each kernel cell's reading of the input as a column, then one matrix product a group."""
    batch, channels, *size = input.shape
    kernel, out_size = weight.shape[2:], offset.shape[2:]
    deform_groups = offset.shape[1] // (2 * kernel.numel())
    groups = channels // weight.shape[1]
    folded = input.reshape(batch * deform_groups, channels // deform_groups, *size)
    columns = _read(folded, *_positions(offset, kernel, geometry))
    if mask is not None:
        columns = columns * mask.reshape(len(columns), 1, *columns.shape[2:])
    columns = columns.reshape(batch, groups, -1, out_size.numel())
    output = weight.reshape(groups, len(weight) // groups, -1) @ columns
    output = output.reshape(batch, len(weight), *out_size)
    return output if bias is None else output + bias[:, None, None]


def _positions(
    offset: Tensor,  # (B, D * K * 2, H_out, W_out)
    kernel: torch.Size,  # (K_h, K_w)
    geometry: _Geometry,
) -> tuple[Tensor, Tensor]:  # y, x: (B * D, K * H_out, W_out) each, input pixels
    """Where each kernel cell reads: the plain convolution's position, moved by the offset."""
    out_size = offset.shape[2:]
    axes = zip(kernel, out_size, *geometry, strict=True)
    count = partial(torch.arange, dtype=offset.dtype, device=offset.device)
    rows, columns = (
        count(cells)[:, None] * dilation + count(length) * stride - padding
        for cells, length, stride, padding, dilation in axes
    )
    moves = offset.reshape(-1, *kernel, 2, *out_size)
    y = moves[:, :, :, 0] + rows[:, None, :, None]  # (B * D, K_h, K_w, H_out, W_out)
    x = moves[:, :, :, 1] + columns[:, None, :]
    return y.flatten(1, 3), x.flatten(1, 3)


def _read(
    input: Tensor,  # (B, C, H, W)
    y: Tensor,  # (B, M, N)  pixels
    x: Tensor,  # (B, M, N)
) -> Tensor:  # (B, C, M, N)
    """The input at these positions: bilinear, 0 outside.

    Both sides are padded to 2^n + 1, where grid_sample's coordinates are exact: a whole number then
    reads that one pixel, and has the slope that the C++ version gives it, the one to the right.
    A position a whole pixel outside, or more, reads nothing and gets no slope, as there.
    """
    height, width = input.shape[2:]
    inside = (y > -1) & (y < height) & (x > -1) & (x < width)
    y_span, x_span = (1 << (side - 2).bit_length() for side in (height, width))
    padded = F.pad(input, (0, x_span + 1 - width, 0, y_span + 1 - height))
    grid = torch.stack((x * (2 / x_span) - 1, y * (2 / y_span) - 1), dim=-1)
    grid = torch.where(inside[..., None], grid, -5.0)  # far outside
    bilinear = zeros = 0
    return torch.grid_sampler_2d(padded, grid, bilinear, zeros, align_corners=True)


def _at_least_float32(values: Tensor) -> Tensor:
    return values.to(torch.promote_types(values.dtype, torch.float32))


OPERATORS: tuple[Callable[..., object], ...] = (
    nms,
    sigmoid_focal_loss_forward,
    sigmoid_focal_loss_backward,
    deform_conv_forward,
    deform_conv_backward_input,
    deform_conv_backward_parameters,
    modulated_deform_conv_forward,
    modulated_deform_conv_backward,
)

install()
