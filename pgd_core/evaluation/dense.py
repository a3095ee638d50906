"""What a detector predicts at every position of a batch, and how well, before any threshold.

Letters: N images, G objects of the fullest image, A positions over all levels.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn

from pgd_core.detectors.distiller import ground_truth
from pgd_core.detectors.predictions import Outputs, head_predictions
from pgd_core.distill import GroundTruth, TeacherPredictions
from pgd_core.distill.quality import object_evidence, quality_scores


@dataclass(frozen=True)
class DenseLook:
    """One batch through a detector; points and boxes in pixels of the padded input pictures."""

    pictures: list[Tensor]  # N times (3, height, width) uint8  BGR, without padding
    samples: list[Any]  # N of MMDetection's: names, sizes, scale factors
    outputs: Outputs  # of the head: per output, per level (N, channels, H_l, W_l)
    predictions: TeacherPredictions
    truth: GroundTruth
    quality: Mapping[str, Tensor]  # by branch (N, G, A)  Eq. 1 with the branch's xi
    eligible: Tensor  # (N, G, A)  bool; inside the object's box, on the picture, in no crowd
    usable: Tensor  # (N, A)  bool; on the picture, in no crowd


@torch.no_grad()
def look_at(
    detector: nn.Module,  # in evaluation mode
    batch: dict[str, Any],  # of a loader whose pictures come with their objects
    xi: Mapping[str, float],  # by branch
) -> DenseLook:
    """The detector's raw outputs on a batch, and the quality of each position for each object."""
    assert not detector.training, "FCOS and AutoAssign decode otherwise in training mode"
    model = cast(Any, detector)
    data = model.data_preprocessor(batch, False)
    outputs = model.bbox_head(model.extract_feat(data["inputs"]))
    predictions = head_predictions(model.bbox_head, outputs)
    truth = ground_truth(data["data_samples"], data["inputs"].device)
    evidence = object_evidence(predictions, truth)
    return DenseLook(
        pictures=list(batch["inputs"]),
        samples=data["data_samples"],
        outputs=outputs,
        predictions=predictions,
        truth=truth,
        quality={branch: quality_scores(evidence, of_branch) for branch, of_branch in xi.items()},
        eligible=evidence.eligible,
        usable=evidence.background | evidence.eligible.any(dim=1),
    )
