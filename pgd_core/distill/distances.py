"""The two distances PGD is made of, with gradients that keep no feature map of their own.

Plain autograd would keep about four maps of the towers' size a level until the backward pass.
These keep references to maps that exist anyway and compute the rest again. Both give exactly 0,
with gradient 0, where teacher and student are equal. The channels are on axis 1; the gradient
is with respect to the student alone and only once.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from pgd_core.distill.attention import channel_attention


def weighted_squared_error(
    student: Tensor,  # (N, C, ...)
    teacher: Tensor,  # (N, C, ...)
    teacher_attention: Tensor,  # A^T: (N, C, ...), or what broadcasts to it
    weight: Tensor,  # (N, 1, ...)
) -> Tensor:  # scalar
    """sum over images, channels and positions of weight * A^T * (T - S)^2."""
    value: Tensor = _WeightedSquaredError.apply(  # type: ignore[no-untyped-call]
        student, teacher, teacher_attention, weight
    )
    return value


def weighted_attention_distance(
    student: Tensor,  # (N, C, ...)
    teacher_attention: Tensor,  # (N, C, ...)  A^T
    weight: Tensor,  # (N, 1, ...)
    tau: float,
) -> Tensor:  # scalar
    """sum over images, channels and positions of weight * abs(A^T - A^S)."""
    value: Tensor = _WeightedAttentionDistance.apply(  # type: ignore[no-untyped-call]
        student, teacher_attention, weight, tau
    )
    return value


class _WeightedSquaredError(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, student: Tensor, teacher: Tensor, attention: Tensor, weight: Tensor
    ) -> Tensor:
        ctx.save_for_backward(student, teacher, attention, weight)
        error = (student - teacher).square_().mul_(attention)
        return error.sum(dim=1, keepdim=True).mul_(weight).sum()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None, None]:
        student, teacher, attention, weight = ctx.saved_tensors
        slope = (student - teacher).mul_(attention).mul_(2 * grad * weight)
        return slope, None, None, None


class _WeightedAttentionDistance(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, student: Tensor, teacher_attention: Tensor, weight: Tensor, tau: float
    ) -> Tensor:
        ctx.save_for_backward(student, teacher_attention, weight)
        ctx.tau = tau
        distance = channel_attention(student, tau).sub_(teacher_attention).abs_()
        return distance.sum(dim=1, keepdim=True).mul_(weight).sum()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None, None]:
        """dA_c/ds_j = A_c (1[c = j] - A_j / C) with s = abs(S) / tau."""
        student, teacher_attention, weight = ctx.saved_tensors
        attention = channel_attention(student, ctx.tau)
        slope = (attention - teacher_attention).sign_()
        product = slope * attention
        slope.sub_(product.mean(dim=1, keepdim=True)).mul_(attention).mul_(grad * weight / ctx.tau)
        return slope.mul_(torch.sign(student, out=product)), None, None, None
