"""What the report of a data set's check says that a job's advice needs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class DataFacts:
    """Counts of a checked data set; 0 and empty where an old report does not tell."""

    train_images: int = 0
    with_objects: int = 0  # training pictures that hold an object: the others are left out
    val_images: int = 0
    objects: Mapping[str, int] = field(default_factory=dict)  # training objects by class
    shared: int = 0  # validation pictures that are training pictures too
    long_side: int = 0  # median of the training pictures, pixels
    short_side: int = 0
    box_edges: tuple[int, ...] = ()  # lower edges of bins, pixels
    box_counts: tuple[int, ...] = ()  # boxes by the square root of their area

    @classmethod
    def of(cls, report: Mapping[str, Any]) -> DataFacts:
        """From `datasets.report.DatasetReport` as JSON."""
        train, val = report.get("train") or {}, report.get("val") or {}
        sides = train.get("box_sides") or {}
        images = int(train.get("images", 0))
        return cls(
            train_images=images,
            with_objects=images - int(train.get("images_without_objects", 0)),
            val_images=int(val.get("images", 0)),
            objects=dict(train.get("objects_per_class") or {}),
            shared=int(report.get("shared_pictures", 0)),
            long_side=int(train.get("median_long_side", 0)),
            short_side=int(train.get("median_short_side", 0)),
            box_edges=tuple(sides.get("edges", ())),
            box_counts=tuple(sides.get("counts", ())),
        )

    def boxes_under(self, side: float) -> float:
        """Share of boxes that are surely smaller, 0 to 1: whole bins only."""
        total = sum(self.box_counts)
        uppers = (*self.box_edges[1:], float("inf"))
        under = sum(
            count for upper, count in zip(uppers, self.box_counts, strict=False) if upper <= side
        )
        return under / total if total else 0.0
