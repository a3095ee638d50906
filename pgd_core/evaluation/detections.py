"""What a detector found in one picture."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
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


def truth_of(image_id: int, annotations: Iterable[dict[str, Any]]) -> Detections:
    """The objects of one image, from its rows of a COCO file; crowd regions are none."""
    objects = [row for row in annotations if not row.get("iscrowd")]
    corners = [(x, y, x + w, y + h) for x, y, w, h in (row["bbox"] for row in objects)]
    return Detections(
        image_id=image_id,
        boxes=np.array(corners, dtype=float).reshape(-1, 4),
        scores=np.ones(len(objects)),
        category_ids=np.array([row["category_id"] for row in objects], dtype=int),
    )


def write_detections(path: Path, found: Sequence[Detections], min_score: float) -> None:
    """Keep those of at least this score in one file of arrays."""
    kept = [each.above(min_score) for each in found] or [truth_of(0, [])]
    with path.open("wb") as file:
        np.savez_compressed(
            file,
            image_ids=np.concatenate([np.full(len(d.scores), d.image_id) for d in kept]),
            boxes=np.concatenate([d.boxes for d in kept]),
            scores=np.concatenate([d.scores for d in kept]),
            category_ids=np.concatenate([d.category_ids for d in kept]),
        )


def read_detections(path: Path) -> dict[int, Detections]:
    """What `write_detections` kept, by image; an image where nothing was found is absent."""
    with np.load(path, allow_pickle=False) as file:
        arrays = dict(file)
    image_ids = arrays.pop("image_ids")
    order = np.argsort(image_ids, kind="stable")
    ids, starts = np.unique(image_ids[order], return_index=True)
    parts = {name: np.split(values[order], starts[1:]) for name, values in arrays.items()}
    return {
        int(image_id): Detections(
            int(image_id), **{name: values[i] for name, values in parts.items()}
        )
        for i, image_id in enumerate(ids)
    }
