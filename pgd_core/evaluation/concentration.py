"""How the quality of one object's positions is spread: over positions, around the box, by level.

Letters: N images, G objects, A positions over all L levels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from pgd_core.evaluation.dense import DenseLook

SMALL_BELOW, LARGE_ABOVE = 32**2, 96**2  # COCO's, square pixels of the original picture
SIZES = ("small", "medium", "large")
MEASURES = ("half_mass_positions", "half_mass_share", "centre_distance", "centre_distance_relative")


@dataclass(frozen=True)
class Concentration:
    """Of each object; NaN where none of its positions has any quality."""

    positions: Tensor  # (N, G)  inside the box, over all levels
    mass: Tensor  # (N, G)  sum of the quality
    half_mass_positions: Tensor  # (N, G)  the fewest positions that hold half of the mass
    centre_distance: Tensor  # (N, G)  of the quality-weighted centre from the box's, pixels
    centre_distance_relative: Tensor  # (N, G)  the same, x over the box's width, y over its height
    level_shares: Tensor  # (N, G, L)  each level's share of the mass

    @property
    def half_mass_share(self) -> Tensor:  # (N, G)
        """The same share of the object's positions; 0.5 where all have one quality."""
        return self.half_mass_positions / self.positions


def concentration(
    quality: Tensor,  # (N, G, A)  of Eq. 1
    eligible: Tensor,  # (N, G, A)  bool; the object's positions
    points: Tensor,  # (A, 2)  (x, y), pixels
    boxes: Tensor,  # (N, G, 4)  XYXY, pixels
    level_sizes: tuple[tuple[int, int], ...],
) -> Concentration:
    """Where each object's quality lies."""
    quality, points, boxes = quality.double(), points.double(), boxes.double()
    held = quality.sort(dim=-1, descending=True).values.cumsum(dim=-1)
    mass = held[..., -1]
    has_mass = mass > 0
    before_half = held < 0.5 * mass[..., None] * (1 - 1e-9)  # equal up to rounding is half
    offset = (quality @ points) / mass[..., None] - (boxes[..., :2] + boxes[..., 2:]) / 2
    sides = boxes[..., 2:] - boxes[..., :2]
    areas = [height * width for height, width in level_sizes]
    of_levels = torch.stack(
        [of.sum(dim=-1) for of in cast(Any, quality).split(areas, dim=-1)], dim=-1
    )
    return Concentration(
        positions=eligible.sum(dim=-1),
        mass=mass,
        half_mass_positions=torch.where(has_mass, before_half.sum(dim=-1) + 1.0, torch.nan),
        centre_distance=offset.norm(dim=-1),
        centre_distance_relative=(offset / sides).norm(dim=-1),
        level_shares=of_levels / mass[..., None],
    )


@dataclass(frozen=True)
class ObjectRow:
    """One object and the quality of one branch around it."""

    image_id: int
    class_name: str
    box: tuple[float, float, float, float]  # XYXY, pixels of the original picture
    branch: str  # cls or reg: whose xi
    positions: int
    mass: float
    half_mass_positions: float
    half_mass_share: float
    centre_distance: float  # pixels of the input picture
    centre_distance_relative: float
    level_shares: tuple[float, ...]

    @property
    def size(self) -> str:
        """COCO's size class, of the box's area.

        Departure: COCO takes the annotation's `area`, of the object's outline where it has one.
        """
        x1, y1, x2, y2 = self.box
        area = (x2 - x1) * (y2 - y1)
        return SIZES[int(area >= SMALL_BELOW) + int(area > LARGE_ABOVE)]

    def as_csv(self, level_names: Sequence[str]) -> dict[str, object]:
        """Column to value; an unmeasurable value is empty."""
        sides = dict(zip(("x1", "y1", "x2", "y2"), (round(s, 2) for s in self.box), strict=True))
        levels = {
            f"share_{name}": _cell(share)
            for name, share in zip(level_names, self.level_shares, strict=True)
        }
        return {
            "image_id": self.image_id,
            "class": self.class_name,
            **sides,
            "size": self.size,
            "branch": self.branch,
            "positions": self.positions,
            "mass": _cell(self.mass),
            **{name: _cell(getattr(self, name)) for name in MEASURES},
            **levels,
        }


def _cell(value: float) -> object:
    return "" if np.isnan(value) else round(value, 5)


def object_rows(look: DenseLook, classes: Sequence[str]) -> list[ObjectRow]:
    """Every object of a batch, once for each branch."""
    rows = []
    for branch, quality in look.quality.items():
        found = concentration(
            quality,
            look.eligible,
            look.predictions.points,
            look.truth.boxes,
            look.predictions.level_sizes,
        )
        numbers = {name: getattr(found, name).tolist() for name in ("positions", "mass", *MEASURES)}
        shares = found.level_shares.tolist()
        for image, sample in enumerate(look.samples):
            scale = torch.tensor(sample.scale_factor).repeat(2)
            boxes = (look.truth.boxes[image].cpu() / scale).tolist()
            for of_image in range(int(look.truth.valid[image].sum())):
                rows.append(
                    ObjectRow(
                        image_id=int(sample.img_id),
                        class_name=classes[int(look.truth.labels[image, of_image])],
                        box=tuple(boxes[of_image]),
                        branch=branch,
                        level_shares=tuple(shares[image][of_image]),
                        **{name: values[image][of_image] for name, values in numbers.items()},
                    )
                )
    return rows


def summary(rows: Sequence[ObjectRow], level_names: Sequence[str]) -> dict[str, Any]:
    """Of one branch: quartiles of every measure and the mean share of every level, by size.

    A measure is None where no object has any quality; such objects are counted apart.
    """
    groups = {"all": list(rows)} | {s: [row for row in rows if row.size == s] for s in SIZES}
    return {name: _summary(group, level_names) for name, group in groups.items()}


def _summary(rows: Sequence[ObjectRow], level_names: Sequence[str]) -> dict[str, Any]:
    measured = [row for row in rows if row.mass > 0]
    return {
        "objects": len(rows),
        "without_quality": len(rows) - len(measured),
        **{name: _quartiles([getattr(row, name) for row in measured]) for name in MEASURES},
        "level_shares": {
            name: round(float(np.mean([row.level_shares[i] for row in measured])), 4)
            if measured
            else None
            for i, name in enumerate(level_names)
        },
    }


def _quartiles(values: Sequence[float]) -> dict[str, float | None]:
    names = ("first_quartile", "median", "third_quartile")
    if not values:
        return dict.fromkeys(names)
    found = np.quantile(np.asarray(values, dtype=float), [0.25, 0.5, 0.75])
    return {name: round(float(value), 4) for name, value in zip(names, found, strict=True)}
