"""A map of teacher and of student for every FPN level, ready to be compared."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from pgd_core.distill.inputs import check_maps_fit


def paired_levels(
    what: str,
    teacher: list[Tensor],  # per level (N, C, H_l, W_l)
    student: list[Tensor],  # per level (N, C, H_l, W_l)
    level_sizes: tuple[tuple[int, int], ...],
) -> list[tuple[Tensor, Tensor]]:  # per level two of (N, C, H_l, W_l)
    """Teacher's and student's maps in at least float32, the teacher's without gradient.

    InvalidSpec, naming `what`, where they do not fit each other or the predictions' levels.
    """
    check_maps_fit(what, teacher, student, level_sizes)
    return [
        (_full_precision(of_teacher.detach()), _full_precision(of_student))
        for of_teacher, of_student in zip(teacher, student, strict=True)
    ]


def level_adapters(channels: int, levels: int) -> nn.ModuleList:
    """A 3x3 convolution for each level, which the student's features pass to be compared."""
    return nn.ModuleList(nn.Conv2d(channels, channels, 3, padding=1) for _ in range(levels))


def _full_precision(level: Tensor) -> Tensor:
    return level.to(torch.promote_types(level.dtype, torch.float32))
