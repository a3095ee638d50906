"""FGFI: the neck's features near objects, where an anchor overlaps one as no other can much better.

    L = w * sum_l sum M d^2 / (2 sum_l sum M),  d = relu(conv3x3(S)) - T

M is 1 on the positions whose anchor's IoU with some object is above half of that object's best
IoU; the sums are over levels, images, positions and, of d^2, channels. The weight is 0 over the
first iterations. Only detectors with anchors have an M.

Source: Wang et al., Distilling Object Detectors with Fine-grained Feature Imitation, CVPR 2019.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from pgd_core.distill.anchors import anchors_of, imitation_region
from pgd_core.distill.inputs import DetectorView, Scene, Setting
from pgd_core.distill.level_masks import usable_cells
from pgd_core.distill.levels import level_adapters, paired_levels
from pgd_core.distill.presets import check_numbers, preset_of
from pgd_core.distill.weighting import split_levels


@dataclass(frozen=True)
class FgfiParameters:
    """Unverified: the weight is that of a later port to one-stage detectors, which sums over
    channels as ours does; the authors' own, for two-stage detectors, is 0.01."""

    weight: float = 2.0
    """Weight of the features near objects."""
    idle_iterations: int = 400
    """Iterations before the loss begins."""

    def __post_init__(self) -> None:
        check_numbers(self)

    @classmethod
    def preset(cls, setting: Setting) -> FgfiParameters:
        """The numbers for a detector; InvalidSpec for an unknown one, or one without anchors."""
        return preset_of(_PRESETS, setting.detector)


_PRESETS = dict.fromkeys(("atss", "gfl", "ddod"), FgfiParameters())


class FineGrainedImitation(nn.Module):
    """FGFI's loss for one batch; trains a 3x3 convolution a level."""

    def __init__(self, parameters: FgfiParameters, setting: Setting) -> None:
        super().__init__()
        self.hyper = parameters
        self.adapters = level_adapters(setting.channels, len(setting.strides))

    def forward(
        self, teacher_view: DetectorView, student_view: DetectorView, scene: Scene
    ) -> dict[str, Tensor]:
        """One weighted scalar, to be added to the student's own loss."""
        sizes = scene.predictions.level_sizes
        regions = split_levels(imitation_region(anchors_of(scene), scene.truth), sizes)
        usable = usable_cells(scene.predictions, scene.truth)
        errors, counts = [], []
        with torch.autocast(scene.predictions.points.device.type, enabled=False):
            pairs = paired_levels("neck's features", teacher_view.neck, student_view.neck, sizes)
            for (teacher, student), adapter, region, is_usable in zip(
                pairs, self.adapters, regions, usable, strict=True
            ):
                mask = (region & is_usable).to(teacher.dtype)
                error = (adapter(student).relu() - teacher).square().sum(dim=1)
                errors.append((error * mask).sum())
                counts.append(mask.sum())
            total, count = torch.stack(errors).sum(), torch.stack(counts).sum()
            begun = float(scene.iteration >= self.hyper.idle_iterations)
            weight = begun * self.hyper.weight
            return {"loss_fgfi_feature": weight * total / (2 * count.clamp(min=1))}


def build(setting: Setting, options: Mapping[str, Any]) -> FineGrainedImitation:
    """FGFI with the detector's preset, but for the options that were given."""
    return FineGrainedImitation(replace(FgfiParameters.preset(setting), **options), setting)
