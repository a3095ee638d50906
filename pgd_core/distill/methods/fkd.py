"""FKD: the neck's features, weighted by both detectors' attention, and the relations of positions.

One level, d = T - conv1x1(S), norms over all that is left, images included:

    M_s = HW * softmax over positions of mean_c abs(F) / tau,  M_c = C * softmax over channels of
          mean_hw abs(F) / tau, each the mean of teacher's and student's, without gradient
    L = alpha * sqrt(sum M_s M_c d^2)
      + beta  * (norm(GAP T - linear(GAP S)) + norm(mean_c T - conv3x3(mean_c S)))
      + gamma * norm(NL_T(T) - conv1x1(NL_S(S)))

GAP is the mean over positions, NL a non-local block; both detectors' blocks and all the layers
between train. The levels add up. The ground truth has no part: padding counts as it does for the
authors.

Source: Zhang and Ma, Improve Object Detection with Feature-based Knowledge Distillation, ICLR 2021.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pgd_core.distill.attention import map_channel_attention, spatial_attention
from pgd_core.distill.inputs import DetectorView, Scene, Setting
from pgd_core.distill.levels import paired_levels
from pgd_core.distill.presets import check_numbers, preset_of

# Cells of the first levels' sides that the relations see as one: (H/4 W/4)^2 pairs fit a GPU.
_POOLED = (4, 2)


@dataclass(frozen=True)
class FkdParameters:
    """Unverified: the numbers come from public code that followed the paper, for one-stage
    detectors; all five detectors share them."""

    alpha: float = 4.2e-4
    """Weight of the features."""
    beta: float = 2.4e-2
    """Weight of the pooled features, by channel and by position."""
    gamma: float = 4.2e-4
    """Weight of the relations."""
    tau: float = 0.1
    """Temperature of the attention maps."""

    def __post_init__(self) -> None:
        check_numbers(self)

    @classmethod
    def preset(cls, setting: Setting) -> FkdParameters:
        """The numbers for a detector; InvalidSpec for an unknown one."""
        return preset_of(_PRESETS, setting.detector)


_PRESETS = dict.fromkeys(("fcos", "autoassign", "atss", "gfl", "ddod"), FkdParameters())


@torch.no_grad()
def joint_attention(
    teacher: Tensor,  # (N, C, H, W)
    student: Tensor,  # (N, C, H, W)
    tau: float,
) -> Tensor:  # (N, C, H, W)
    """M_s M_c."""
    spatial = (spatial_attention(teacher, tau) + spatial_attention(student, tau)) / 2
    channel = (map_channel_attention(teacher, tau) + map_channel_attention(student, tau)) / 2
    return spatial * channel[..., None, None]


class NonLocal(nn.Module):
    """Adds to each cell what the cells that it attends to hold; begins as the identity.

    Embedded Gaussian with half the channels, on the map's maxima over `pooled` by `pooled` cells:
    the result has their size.
    """

    def __init__(self, channels: int, pooled: int) -> None:
        super().__init__()
        hidden = max(1, channels // 2)
        self.pooled = pooled
        self.query, self.key, self.value = (nn.Conv2d(channels, hidden, 1) for _ in range(3))
        self.out = nn.Conv2d(hidden, channels, 1)
        for zero in (self.out.weight, cast(Tensor, self.out.bias)):
            nn.init.zeros_(zero)

    def forward(
        self,
        feature: Tensor,  # (N, C, H, W)
    ) -> Tensor:  # (N, C, ceil(H / pooled), ceil(W / pooled))
        """The pooled map with its relations."""
        if self.pooled > 1:
            feature = F.max_pool2d(feature, self.pooled, ceil_mode=True)
        query, key, value = (
            layer(feature).flatten(2).transpose(1, 2)[:, None]
            for layer in (self.query, self.key, self.value)
        )
        related = F.scaled_dot_product_attention(query, key, value, scale=1.0)
        of_map = (len(feature), -1, *feature.shape[2:])
        added: Tensor = self.out(related[:, 0].transpose(1, 2).reshape(of_map))
        return feature + added


class FkdLevel(nn.Module):
    """What one level trains beside the student, and its losses."""

    def __init__(self, channels: int, pooled: int, hyper: FkdParameters) -> None:
        super().__init__()
        self.hyper = hyper
        self.feature = nn.Conv2d(channels, channels, 1)
        self.channel = nn.Linear(channels, channels)
        self.spatial = nn.Conv2d(1, 1, 3, padding=1)
        self.relation = nn.Conv2d(channels, channels, 1)
        self.teacher_relations, self.student_relations = (
            NonLocal(channels, pooled) for _ in range(2)
        )

    def forward(
        self,
        teacher: Tensor,  # (N, C, H, W)
        student: Tensor,  # (N, C, H, W)
    ) -> Tensor:  # (3,)  weighted: features, pooled features, relations
        """The losses of the level."""
        norm, hyper = torch.linalg.vector_norm, self.hyper
        attention = joint_attention(teacher, student, hyper.tau)
        feature = norm((teacher - self.feature(student)) * attention.sqrt())
        channel = norm(teacher.mean(dim=(2, 3)) - self.channel(student.mean(dim=(2, 3))))
        of_student = student.mean(dim=1, keepdim=True)
        spatial = norm(teacher.mean(dim=1, keepdim=True) - self.spatial(of_student))
        of_student = self.relation(self.student_relations(student))
        relation = norm(self.teacher_relations(teacher) - of_student)
        return torch.stack(
            [hyper.alpha * feature, hyper.beta * (channel + spatial), hyper.gamma * relation]
        )


class FeatureBasedDistillation(nn.Module):
    """FKD's losses for one batch; trains adapters and non-local blocks a level."""

    def __init__(self, parameters: FkdParameters, setting: Setting) -> None:
        super().__init__()
        self.hyper = parameters
        pooled = [*_POOLED, *[1] * len(setting.strides)][: len(setting.strides)]
        self.levels = nn.ModuleList(FkdLevel(setting.channels, p, parameters) for p in pooled)

    def forward(
        self, teacher_view: DetectorView, student_view: DetectorView, scene: Scene
    ) -> dict[str, Tensor]:
        """Three weighted scalars, to be added to the student's own loss."""
        sizes = scene.predictions.level_sizes
        pairs = paired_levels("neck's features", teacher_view.neck, student_view.neck, sizes)
        with torch.autocast(scene.predictions.points.device.type, enabled=False):
            terms = [level(*pair) for level, pair in zip(self.levels, pairs, strict=True)]
            feature, pooled, relation = torch.stack(terms).sum(dim=0)
        return {
            "loss_fkd_feature": feature,
            "loss_fkd_pooled": pooled,
            "loss_fkd_relation": relation,
        }


def build(setting: Setting, options: Mapping[str, Any]) -> FeatureBasedDistillation:
    """FKD with the detector's preset, but for the options that were given."""
    return FeatureBasedDistillation(replace(FkdParameters.preset(setting), **options), setting)
