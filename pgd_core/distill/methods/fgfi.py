"""Fine-Grained Feature Imitation (FGFI): the neck's features, on and near the objects.

M is 1 on positions whose anchor has an IoU above half the best IoU of some object, C the
channels, d = T - relu(adapter(S)) with a 3x3 convolution a level:

    L = w * sum M d^2 / (2 C sum M)

with sums over the channels and positions of all levels of an image; the mean over images. It is
off for the first iterations. Serves detectors with anchors.

Unverified: the formula's sums leave open whether M counts positions or, as here, positions times
channels. The authors' w of 0.01 is for two-stage detectors and a sum over channels; later ports
to one-stage detectors give 2 or 3. At 256 channels 2 / 256 is 0.008, so that the ports' is read
as the weight of a mean. The scope of each sum, an image rather than the batch, is ours.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from pgd_core.distill.anchors import anchor_ious
from pgd_core.distill.fine_grained import fine_grained_region, imitation_error
from pgd_core.distill.inputs import DetectorView, Scene, Setting
from pgd_core.distill.levels import level_adapters, paired_levels
from pgd_core.distill.presets import check_numbers, preset_of


@dataclass(frozen=True)
class FgfiParameters:
    """One set of numbers for all detectors with anchors; w is a later port's, unverified."""

    w_feature: float = 2.0
    """Weight of the features, w."""
    first_iteration: int = 400
    """Steps of the optimiser before the loss sets in."""
    iou_share: float = 0.5
    """Share of an object's best IoU that an anchor exceeds on the region."""

    def __post_init__(self) -> None:
        check_numbers(self)

    @classmethod
    def preset(cls, setting: Setting) -> FgfiParameters:
        """The numbers for a detector; InvalidSpec for one without anchors."""
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
        hyper, predictions, truth = self.hyper, scene.predictions, scene.truth
        with torch.autocast(predictions.points.device.type, enabled=False):
            levels = paired_levels(
                "neck's features", teacher_view.neck, student_view.neck, predictions.level_sizes
            )
            ious = anchor_ious(predictions, truth)
            region = fine_grained_region(ious, predictions, truth, hyper.iou_share)
            adapted = [
                (teacher, adapter(student).relu())
                for (teacher, student), adapter in zip(levels, self.adapters, strict=True)
            ]
            error = imitation_error(adapted, region)
        weight = hyper.w_feature / 2 if scene.iteration >= hyper.first_iteration else 0.0
        return {"loss_fgfi_feature": weight * error}


def build(setting: Setting, options: Mapping[str, Any]) -> FineGrainedImitation:
    """FGFI with the detector's preset, but for the options that were given."""
    return FineGrainedImitation(replace(FgfiParameters.preset(setting), **options), setting)
