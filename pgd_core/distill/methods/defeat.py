"""DeFeat: the neck's features, apart on objects and on the background.

One level, d = T - adapter(S), M = 1 on the cells of the objects that belong to the level:

    L = w_foreground * sum M d^2 / (2 C sum M) + w_background * sum (1 - M) d^2 / (2 C sum (1 - M))

with sums over the batch; the loss is the mean over the levels. The adapter is a 3x3 convolution.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, cast

import torch
from torch import Tensor, nn

from pgd_core.distill.distances import weighted_squared_error
from pgd_core.distill.inputs import DetectorView, GroundTruth, Scene, Setting
from pgd_core.distill.level_masks import covered_cells, usable_cells
from pgd_core.distill.levels import level_adapters, paired_levels
from pgd_core.distill.presets import check_numbers, preset_of

_FINEST_PX = 56  # boxes whose area is below the square of twice this belong to the finest level
_ADAPTER_STD = 1e-4


@dataclass(frozen=True)
class DefeatParameters:
    """The defaults are the author's for COCO, of a two-stage detector.

    Unverified: the same for every detector served here, and for CrowdHuman.
    """

    w_foreground: float = 4.0
    """Weight of the features on objects."""
    w_background: float = 16.0
    """Weight of the features elsewhere."""

    def __post_init__(self) -> None:
        check_numbers(self)

    @classmethod
    def preset(cls, setting: Setting) -> DefeatParameters:
        """The numbers for a detector; InvalidSpec for an unknown one."""
        return preset_of(_PRESETS, setting.detector)


_PRESETS = dict.fromkeys(("fcos", "autoassign", "atss", "gfl", "ddod"), DefeatParameters())


@torch.no_grad()
def object_levels(
    boxes: Tensor,  # (N, G, 4)  XYXY, pixels
    levels: int,
) -> Tensor:  # (N, G)  int64, 0 for the finest
    """The level each box belongs to: floor(log2(sqrt(area) / 56)), the nearest where there is none.

    Departure: the author counts a box's last pixel as its own, which adds 1 to both sides.
    """
    sides = (boxes[..., 2:] - boxes[..., :2]).clamp(min=0)
    octave = (sides.prod(dim=-1).sqrt() / _FINEST_PX).log2().floor()
    return octave.clamp(min=0, max=levels - 1).long()


@torch.no_grad()
def object_cells(
    truth: GroundTruth,
    belongs: Tensor,  # (N, G)  bool
    size: tuple[int, int],  # (H, W)
    stride: int,  # pixels
) -> Tensor:  # (N, H, W)  bool
    """M: cells of the boxes that belong to the level.

    A box covers the cells from floor(x1 / stride) to floor(x2 / stride), this one excluded, and
    so in y, but at least one a side.

    Departure: where a box spans no whole cell in one direction, the author takes one cell of it,
    ours takes its length in the other direction.
    """
    first = (truth.boxes[..., :2] / stride).floor()
    last = torch.maximum((truth.boxes[..., 2:] / stride).floor() - 1, first)
    covered = covered_cells(first, last, size)
    return (covered & (belongs & truth.valid)[..., None, None]).any(dim=1)


def defeat_losses(
    teacher: Tensor,  # (N, C, H, W)
    adapted: Tensor,  # (N, C, H, W)  the student's features behind the adapter
    foreground: Tensor,  # (N, H, W)  bool
    background: Tensor,  # (N, H, W)  bool
    hyper: DefeatParameters,
) -> Tensor:  # (2,)  weighted: foreground, background
    """The losses of one level; 0 where the batch has no cell of that kind."""
    one = teacher.new_ones(())
    losses = []
    for cells, weight in ((foreground, hyper.w_foreground), (background, hyper.w_background)):
        mask = cells[:, None].to(teacher.dtype)
        share = mask * (weight / (2 * teacher.shape[1])) / mask.sum().clamp(min=1)
        losses.append(weighted_squared_error(adapted, teacher, one, share))
    return torch.stack(losses)


class DecoupledFeatureDistillation(nn.Module):
    """DeFeat's losses for one batch; trains a 3x3 convolution a level.

    The convolutions begin next to zero, as the author's of a one-stage detector.
    """

    def __init__(self, parameters: DefeatParameters, setting: Setting) -> None:
        super().__init__()
        self.hyper = parameters
        self.strides = setting.strides
        self.adapters = level_adapters(setting.channels, len(setting.strides))
        for adapter in self.adapters:
            weight = cast(Tensor, adapter.weight)
            nn.init.trunc_normal_(weight, std=_ADAPTER_STD, a=-2 * _ADAPTER_STD, b=2 * _ADAPTER_STD)

    def forward(
        self, teacher_view: DetectorView, student_view: DetectorView, scene: Scene
    ) -> dict[str, Tensor]:
        """Two weighted scalars, to be added to the student's own loss."""
        truth, sizes = scene.truth, scene.predictions.level_sizes
        level_of_object = object_levels(truth.boxes, len(sizes))
        usable = usable_cells(scene.predictions, truth)
        terms = []
        with torch.autocast(scene.predictions.points.device.type, enabled=False):
            pairs = paired_levels("neck's features", teacher_view.neck, student_view.neck, sizes)
            for level, ((teacher, student), adapter, size, stride, is_usable) in enumerate(
                zip(pairs, self.adapters, sizes, self.strides, usable, strict=True)
            ):
                cells = object_cells(truth, level_of_object == level, size, stride)
                terms.append(
                    defeat_losses(
                        teacher,
                        adapter(student),
                        cells & is_usable,
                        is_usable & ~cells,
                        self.hyper,
                    )
                )
            foreground, background = torch.stack(terms).mean(dim=0)
        return {"loss_defeat_foreground": foreground, "loss_defeat_background": background}


def build(setting: Setting, options: Mapping[str, Any]) -> DecoupledFeatureDistillation:
    """DeFeat with the detector's preset, but for the options that were given."""
    parameters = replace(DefeatParameters.preset(setting), **options)
    return DecoupledFeatureDistillation(parameters, setting)
