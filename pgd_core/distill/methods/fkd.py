"""Feature-based Knowledge Distillation (FKD): the neck's features under attention, and relations.

One level, T and S the features of teacher and student, the norms of one image:

    P = HW * softmax over positions of mean_c abs(F) / tau     spatial attention
    A = C * softmax over channels of mean_hw abs(F) / tau      channel attention
    M = (P_T + P_S) / 2 * (A_T + A_S) / 2                      without gradient
    L = alpha * sqrt(sum M (T - conv1x1(S))^2)
      + beta * (norm(mean_hw T - linear(mean_hw S)) + norm(mean_c T - conv3x3(mean_c S)))
      + gamma * norm(NL(T) - conv1x1(NL(S)))

NL is a non-local block of its own for each of the two, and both train. The levels add up. The
ground truth has no part: padding and ignore regions count as the teacher sees them.

Unverified: all weights are those of public code derived from the authors', not of the paper. Norms
of each image and their mean, so that a loss does not grow with the batch; the block's inner width
and its strides are ours.
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

_KEY_STRIDES = (8, 4)  # of the two finest levels; 1 from there on
TERMS = ("feature", "channel", "spatial", "relation")


@dataclass(frozen=True)
class FkdParameters:
    """One set of numbers for all detectors, unverified."""

    alpha: float = 4.2e-4
    """Weight of the features under attention."""
    beta: float = 2.4e-2
    """Weight of the features' means over positions and over channels."""
    gamma: float = 4.2e-4
    """Weight of the relation between positions."""
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
def shared_attention(
    teacher: Tensor,  # (N, C, H, W)
    student: Tensor,  # (N, C, H, W)
    tau: float,
) -> Tensor:  # (N, C, H, W)
    """M: the product of both attentions, each the mean of teacher's and student's."""
    spatial = (spatial_attention(teacher, tau) + spatial_attention(student, tau)) / 2
    channel = (map_channel_attention(teacher, tau) + map_channel_attention(student, tau)) / 2
    return spatial * channel[..., None, None]


def mean_norm(
    difference: Tensor,  # (N, ...)
) -> Tensor:  # scalar
    """The Euclidean norm of each image's values, and the mean over images; its slope at 0 is 0."""
    norms: Tensor = torch.linalg.vector_norm(difference.flatten(1), dim=1)
    return norms.mean()


class NonLocalBlock(nn.Module):
    """F + W y, y_i = 1/K * sum over positions j of (q_i . k_j) v_j: every position sees the map.

    q, k, v and W are 1x1 convolutions. k and v are taken from the map's means over squares of
    `stride` positions, so that K is the number of squares. W starts at 0, the block as F.
    """

    def __init__(self, channels: int, stride: int) -> None:
        super().__init__()
        inner = max(1, channels // 4)
        self.stride = stride
        self.query, self.key, self.value = (nn.Conv2d(channels, inner, 1) for _ in range(3))
        self.out = nn.Conv2d(inner, channels, 1)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(cast(Tensor, self.out.bias))

    def forward(
        self,
        feature: Tensor,  # (N, C, H, W)
    ) -> Tensor:  # (N, C, H, W)
        """The map with what each position takes from the others.

        The sum over j is taken first: (v k^T) q costs H W, (q k^T) v the square of it.
        """
        squares = feature
        if self.stride > 1:
            squares = F.avg_pool2d(feature, self.stride, ceil_mode=True)
        query = self.query(feature).flatten(2)
        key, value = self.key(squares).flatten(2), self.value(squares).flatten(2)
        relation = value @ key.transpose(1, 2) / key.shape[2]
        seen = (relation @ query).unflatten(2, feature.shape[2:])
        return feature + cast(Tensor, self.out(seen))


class LevelAdapters(nn.Module):
    """What FKD trains beside the student for one level."""

    def __init__(self, channels: int, stride: int) -> None:
        super().__init__()
        self.feature = nn.Conv2d(channels, channels, 1)
        self.channel = nn.Linear(channels, channels)
        self.spatial = nn.Conv2d(1, 1, 3, padding=1)
        self.relation = nn.Conv2d(channels, channels, 1)
        self.teacher_block = NonLocalBlock(channels, stride)
        self.student_block = NonLocalBlock(channels, stride)


def level_losses(
    teacher: Tensor,  # (N, C, H, W)
    student: Tensor,  # (N, C, H, W)
    adapters: LevelAdapters,
    hyper: FkdParameters,
) -> Tensor:  # (4,)  weighted, in the order of TERMS
    """The losses of one level, means over images."""
    attention = shared_attention(teacher, student, hyper.tau)
    channel = teacher.mean(dim=(2, 3)) - adapters.channel(student.mean(dim=(2, 3)))
    spatial = teacher.mean(dim=1, keepdim=True) - adapters.spatial(student.mean(1, keepdim=True))
    relation = adapters.teacher_block(teacher) - adapters.relation(adapters.student_block(student))
    return torch.stack(
        [
            hyper.alpha * mean_norm((teacher - adapters.feature(student)) * attention.sqrt()),
            hyper.beta * mean_norm(channel),
            hyper.beta * mean_norm(spatial),
            hyper.gamma * mean_norm(relation),
        ]
    )


class FeatureKnowledgeDistillation(nn.Module):
    """FKD's losses for one batch; trains adapters and two non-local blocks a level."""

    def __init__(self, parameters: FkdParameters, setting: Setting) -> None:
        super().__init__()
        self.hyper = parameters
        coarse = max(0, len(setting.strides) - len(_KEY_STRIDES))
        strides = (*_KEY_STRIDES, *(1,) * coarse)[: len(setting.strides)]
        self.adapters = nn.ModuleList(LevelAdapters(setting.channels, s) for s in strides)

    def forward(
        self, teacher_view: DetectorView, student_view: DetectorView, scene: Scene
    ) -> dict[str, Tensor]:
        """Four weighted scalars, to be added to the student's own loss."""
        predictions = scene.predictions
        with torch.autocast(predictions.points.device.type, enabled=False):
            levels = paired_levels(
                "neck's features", teacher_view.neck, student_view.neck, predictions.level_sizes
            )
            of_levels = [
                level_losses(teacher, student, cast(LevelAdapters, adapters), self.hyper)
                for (teacher, student), adapters in zip(levels, self.adapters, strict=True)
            ]
            losses = torch.stack(of_levels).sum(dim=0)
        return {f"loss_fkd_{term}": loss for term, loss in zip(TERMS, losses, strict=True)}


def build(setting: Setting, options: Mapping[str, Any]) -> FeatureKnowledgeDistillation:
    """FKD with the detector's preset, but for the options that were given."""
    return FeatureKnowledgeDistillation(replace(FkdParameters.preset(setting), **options), setting)
