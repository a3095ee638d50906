"""What a detector found in one picture."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pgd_core.errors import TrainingDiverged


@dataclass(frozen=True)
class Detections:
    """D boxes of one image. Ground truth takes the same form with every score 1."""

    image_id: int
    boxes: NDArray[Any]  # (D, 4) float  XYXY, pixels of the original image
    scores: NDArray[Any]  # (D,) float  in [0, 1]
    category_ids: NDArray[Any]  # (D,) int  ids of the annotation file, not 0-based labels

    def __post_init__(self) -> None:
        count = len(self.scores)
        shapes = (self.boxes.shape, self.scores.shape, self.category_ids.shape)
        assert shapes == ((count, 4), (count,), (count,)), shapes

    def refuse_broken_numbers(self) -> None:
        """Raise TrainingDiverged where a box or score is not finite."""
        if not (np.isfinite(self.boxes).all() and np.isfinite(self.scores).all()):
            raise TrainingDiverged(
                f"image {self.image_id}: a detected box or score is NaN or infinite; "
                "the model's weights are broken: train with a lower learning rate"
            )

    def above(self, min_score: float) -> Detections:
        """Those of at least this score, best first."""
        order = np.argsort(-self.scores, kind="stable")
        kept = order[self.scores[order] >= min_score]
        return Detections(
            self.image_id, self.boxes[kept], self.scores[kept], self.category_ids[kept]
        )
