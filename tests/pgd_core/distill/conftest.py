"""A small batch: two images, two levels, three classes; everything in float64."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from pgd_core.distill import GroundTruth, TeacherPredictions, TowerFeatures

Batch = tuple[TowerFeatures, TowerFeatures, TeacherPredictions, GroundTruth]


def grid_points(sizes: tuple[tuple[int, int], ...], strides: tuple[int, ...]) -> Tensor:
    """Centres of the cells of every level, row by row: (A, 2)  (x, y), pixels."""
    return torch.tensor(
        [
            ((j + 0.5) * stride, (i + 0.5) * stride)
            for (height, width), stride in zip(sizes, strides, strict=True)
            for i in range(height)
            for j in range(width)
        ],
        dtype=torch.float64,
    )


@pytest.fixture
def make_predictions() -> Callable[..., TeacherPredictions]:
    def make(
        sizes: tuple[tuple[int, int], ...] = ((4, 6), (2, 3)),
        strides: tuple[int, ...] = (8, 16),
        images: int = 2,
        classes: int = 3,
        seed: int = 0,
    ) -> TeacherPredictions:
        generator = torch.Generator().manual_seed(seed)
        points = grid_points(sizes, strides)
        shape = (images, len(points))
        reach = torch.rand(*shape, 4, generator=generator, dtype=torch.float64) * 16
        boxes = torch.cat([points - reach[..., :2], points + reach[..., 2:]], dim=-1)
        logits = torch.randn(*shape, classes, generator=generator, dtype=torch.float64)
        return TeacherPredictions(points, boxes, logits, sizes)

    return make


@pytest.fixture
def make_features() -> Callable[..., TowerFeatures]:
    def make(
        sizes: tuple[tuple[int, int], ...] = ((4, 6), (2, 3)),
        images: int = 2,
        channels: int = 3,
        seed: int = 0,
        requires_grad: bool = False,
    ) -> TowerFeatures:
        generator = torch.Generator().manual_seed(seed)

        def tower() -> list[Tensor]:
            return [
                torch.randn(images, channels, *size, generator=generator, dtype=torch.float64)
                .relu()
                .requires_grad_(requires_grad)
                for size in sizes
            ]

        return TowerFeatures(cls=tower(), reg=tower())

    return make


@pytest.fixture
def truth() -> GroundTruth:
    """Two overlapping objects and an ignore region in the first image, one object in the second,
    which has 8 columns and 4 rows of padding."""
    return GroundTruth.from_lists(
        boxes=[
            torch.tensor([[2.0, 2, 30, 26], [10, 6, 46, 30]]),
            torch.tensor([[0.0, 0, 48, 20]]),
        ],
        labels=[torch.tensor([0, 2]), torch.tensor([1])],
        ignored=[torch.tensor([[0.0, 24, 10, 32]]), torch.zeros(0, 4)],
        image_sizes=[(32, 48), (28, 40)],
        device="cpu",
    )
