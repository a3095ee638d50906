"""Focal and Global Distillation (FGD): the neck's features, weighted by box and by attention.

One level, T and S the features of teacher and student, d = T - S, N images:

    P  = HW * softmax over positions of mean_c abs(F) / tau     spatial attention
    A  = C * softmax over channels of mean_hw abs(F) / tau      channel attention
    L  = 1/N * sum over images of
           alpha  * sum M_fg * P_T * A_T * d^2  +  beta * sum M_bg * P_T * A_T * d^2
         + gamma  * (sum abs(A_T - A_S) + sum abs(P_T - P_S))
         + lambda * sum (GC_T(T) - GC_S(S))^2

M_fg is 1 / (cells of the box) on the cells of a box, the largest where boxes overlap; M_bg is
1 / (number of background cells) on these. GC is a global-context block; both train. The levels
add up. Teacher and student have one width here, so that no convolution aligns them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, cast

import torch
from torch import Tensor, nn

from pgd_core.distill.attention import map_channel_attention, spatial_attention
from pgd_core.distill.distances import weighted_squared_error
from pgd_core.distill.inputs import DetectorView, GroundTruth, Scene, Setting
from pgd_core.distill.level_masks import covered_cells, usable_cells
from pgd_core.distill.levels import paired_levels
from pgd_core.distill.presets import check_numbers, preset_of
from pgd_core.distill.weighting import normalise


@dataclass(frozen=True)
class FgdParameters:
    """The authors' letters. The defaults are theirs for detectors with anchors.

    They give numbers for RetinaNet and GFL, and for FCOS. Unverified: those of RetinaNet for ATSS
    and DDOD, and those of FCOS for AutoAssign.
    """

    alpha: float = 1e-3
    """Weight of the features on objects."""
    beta: float = 5e-4
    """Weight of the features on the background."""
    gamma: float = 5e-4
    """Weight of the attention maps."""
    lambda_global: float = 5e-6
    """Weight of the relation between pixels, lambda."""
    tau: float = 0.5
    """Temperature of the attention maps."""

    def __post_init__(self) -> None:
        check_numbers(self)

    @classmethod
    def preset(cls, setting: Setting) -> FgdParameters:
        """The numbers for a detector; InvalidSpec for an unknown one."""
        return preset_of(_PRESETS, setting.detector)


_ANCHORS = FgdParameters()
_POINTS = FgdParameters(alpha=1.6e-3, beta=8e-4, gamma=8e-4, lambda_global=8e-6, tau=0.8)
_PRESETS = {
    "atss": _ANCHORS,
    "ddod": _ANCHORS,
    "gfl": _ANCHORS,
    "fcos": _POINTS,
    "autoassign": _POINTS,
}


@torch.no_grad()
def object_weights(
    truth: GroundTruth,
    size: tuple[int, int],  # (H, W)
    stride: int,  # pixels
) -> Tensor:  # (N, H, W)  in [0, 1], 0 on cells of no object
    """M_fg before padding and ignore regions are taken out: 1 / ((h + 1) (w + 1)) of a box's cells.

    A box covers the cells from floor(x1 / stride) to ceil(x2 / stride), both included, and so in
    y; w and h are the differences of these.

    Departure: the authors divide by the size of the image and multiply by that of the map, which
    moves the boxes of an image with padding; ours divide by the stride.
    """
    boxes = truth.boxes / stride
    if boxes.shape[1] == 0:
        return boxes.new_zeros(len(boxes), *size)
    first, last = boxes[..., :2].floor(), boxes[..., 2:].ceil()
    share = truth.valid / (last - first + 1).prod(dim=-1)
    covered = covered_cells(first, last, size)
    return torch.where(covered, share[..., None, None], 0.0).amax(dim=1)


def focal_losses(
    teacher: Tensor,  # (N, C, H, W)
    student: Tensor,  # (N, C, H, W)
    foreground: Tensor,  # (N, H, W)  M_fg
    background: Tensor,  # (N, H, W)  M_bg
    hyper: FgdParameters,
) -> Tensor:  # (3,)  weighted: foreground, background, attention
    """The losses of one level that look at single cells and channels; means over images."""
    images = len(teacher)
    with torch.no_grad():
        spatial = spatial_attention(teacher, hyper.tau)
        channel = map_channel_attention(teacher, hyper.tau)
        of_map = channel[..., None, None]
        on_objects = hyper.alpha / images * foreground[:, None] * spatial
        elsewhere = hyper.beta / images * background[:, None] * spatial
    spatial_distance = (spatial - spatial_attention(student, hyper.tau)).abs().sum()
    channel_distance = (channel - map_channel_attention(student, hyper.tau)).abs().sum()
    return torch.stack(
        [
            weighted_squared_error(student, teacher, of_map, on_objects),
            weighted_squared_error(student, teacher, of_map, elsewhere),
            hyper.gamma / images * (channel_distance + spatial_distance),
        ]
    )


class GlobalContext(nn.Module):
    """Adds to every cell what the whole map tells: F + C -> C/2 -> LN -> ReLU -> C of its pool.

    The pool is the sum of the cells, weighted by the softmax of a 1x1 convolution. The block
    begins as the identity: its last layer is zero.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        hidden = max(1, channels // 2)
        self.mask = nn.Conv2d(channels, 1, 1)
        last = nn.Linear(hidden, channels)
        self.transform = nn.Sequential(
            nn.Linear(channels, hidden), nn.LayerNorm(hidden), nn.ReLU(), last
        )
        nn.init.kaiming_normal_(self.mask.weight, mode="fan_in", nonlinearity="relu")
        for zero in (cast(Tensor, self.mask.bias), last.weight, last.bias):
            nn.init.zeros_(zero)

    def forward(
        self,
        feature: Tensor,  # (N, C, H, W)
    ) -> Tensor:  # (N, C, H, W)
        """The map with its context."""
        weights = self.mask(feature).flatten(1).softmax(dim=1)
        context = torch.einsum("ncp,np->nc", feature.flatten(2), weights)
        added: Tensor = self.transform(context)
        return feature + added[..., None, None]


class FocalGlobalDistillation(nn.Module):
    """FGD's losses for one batch; trains a global-context block a level of teacher and student."""

    def __init__(self, parameters: FgdParameters, setting: Setting) -> None:
        super().__init__()
        self.hyper = parameters
        self.strides = setting.strides
        self.teacher_context, self.student_context = (
            nn.ModuleList(GlobalContext(setting.channels) for _ in setting.strides)
            for _ in range(2)
        )

    def forward(
        self, teacher_view: DetectorView, student_view: DetectorView, scene: Scene
    ) -> dict[str, Tensor]:
        """Four weighted scalars, to be added to the student's own loss."""
        sizes = scene.predictions.level_sizes
        usable = usable_cells(scene.predictions, scene.truth)
        focal, relation = [], []
        with torch.autocast(scene.predictions.points.device.type, enabled=False):
            pairs = paired_levels("neck's features", teacher_view.neck, student_view.neck, sizes)
            blocks = zip(self.teacher_context, self.student_context, strict=True)
            for (teacher, student), (of_teacher, of_student), size, stride, is_usable in zip(
                pairs, blocks, sizes, self.strides, usable, strict=True
            ):
                weights = object_weights(scene.truth, size, stride).to(teacher.dtype)
                background = normalise((is_usable & (weights == 0)).to(teacher.dtype))
                focal.append(
                    focal_losses(teacher, student, weights * is_usable, background, self.hyper)
                )
                distance = of_teacher(teacher) - of_student(student)
                relation.append(self.hyper.lambda_global / len(teacher) * distance.square().sum())
            on_objects, elsewhere, attention = torch.stack(focal).sum(dim=0)
        return {
            "loss_fgd_foreground": on_objects,
            "loss_fgd_background": elsewhere,
            "loss_fgd_attention": attention,
            "loss_fgd_relation": torch.stack(relation).sum(),
        }


def build(setting: Setting, options: Mapping[str, Any]) -> FocalGlobalDistillation:
    """FGD with the detector's preset, but for the options that were given."""
    return FocalGlobalDistillation(replace(FgdParameters.preset(setting), **options), setting)
