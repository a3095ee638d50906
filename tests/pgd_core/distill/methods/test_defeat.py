"""DeFeat: features apart on objects and on the background."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from pgd_core.distill import GroundTruth, Scene, TeacherPredictions, TowerFeatures
from pgd_core.distill.level_masks import usable_cells
from pgd_core.distill.methods.defeat import (
    DecoupledFeatureDistillation,
    DefeatParameters,
    build,
    defeat_losses,
    object_cells,
    object_levels,
)
from tests.pgd_core.distill.views import setting, view_of_neck

KEYS = ["loss_defeat_foreground", "loss_defeat_background"]
DETECTORS = ("fcos", "autoassign", "atss", "gfl", "ddod")
MakePredictions = Callable[..., TeacherPredictions]
Make = Callable[..., TowerFeatures]


def randomised(method: DecoupledFeatureDistillation) -> DecoupledFeatureDistillation:
    """The method in float64, with adapters that do something."""
    generator = torch.Generator().manual_seed(5)
    method.double()
    for parameter in method.parameters():
        nn.init.normal_(parameter, std=0.3, generator=generator)
    return method


@pytest.fixture
def large_and_small(truth: GroundTruth) -> GroundTruth:
    """An object of each level on the first image, one of the coarse level on the second."""
    boxes = torch.tensor([[[2.0, 2, 30, 26], [-40, -90, 90, 14]], [[0, 0, 120, 120], [0] * 4]])
    return replace(truth, boxes=boxes)


def reference_adapter(conv: nn.Conv2d, feature: Tensor) -> Tensor:  # (N, C, H, W)
    kernel, bias = conv.weight.tolist(), conv.bias.tolist()  # type: ignore[union-attr]
    images, channels, height, width = feature.shape
    adapted = torch.zeros_like(feature)
    for n in range(images):
        for c in range(channels):
            for i in range(height):
                for j in range(width):
                    value = bias[c]
                    for k in range(channels):
                        for di in (-1, 0, 1):
                            for dj in (-1, 0, 1):
                                if 0 <= i + di < height and 0 <= j + dj < width:
                                    cell = feature[n, k, i + di, j + dj].item()
                                    value += kernel[c][k][di + 1][dj + 1] * cell
                    adapted[n, c, i, j] = value
    return adapted


def reference_is_object(
    boxes: list[list[float]], level: int, levels: int, stride: int, i: int, j: int
) -> bool:
    for x1, y1, x2, y2 in boxes:
        side = math.sqrt((x2 - x1) * (y2 - y1))
        belongs = min(max(math.floor(math.log2(side / 56)), 0), levels - 1)
        left, top = math.floor(x1 / stride), math.floor(y1 / stride)
        right = max(math.floor(x2 / stride), left + 1)
        bottom = max(math.floor(y2 / stride), top + 1)
        if belongs == level and left <= j < right and top <= i < bottom:
            return True
    return False


def reference_losses(
    method: DecoupledFeatureDistillation,
    teacher: list[Tensor],
    student: list[Tensor],
    scene: Scene,
) -> dict[str, float]:
    """DeFeat written a second time, with Python's numbers and loops."""
    total = dict.fromkeys(KEYS, 0.0)
    usable = usable_cells(scene.predictions, scene.truth)
    weights = method.hyper.w_foreground, method.hyper.w_background
    for level, (t, s) in enumerate(zip(teacher, student, strict=True)):
        adapted = reference_adapter(method.adapters[level], s)  # type: ignore[arg-type]
        images, channels, height, width = t.shape
        sums, counts = [0.0, 0.0], [0, 0]
        for n in range(images):
            boxes = scene.truth.boxes[n][scene.truth.valid[n]].tolist()
            for i in range(height):
                for j in range(width):
                    if not usable[level][n, i, j]:
                        continue
                    stride = method.strides[level]
                    is_object = reference_is_object(boxes, level, len(teacher), stride, i, j)
                    kind = 0 if is_object else 1
                    for c in range(channels):
                        sums[kind] += (t[n, c, i, j].item() - adapted[n, c, i, j].item()) ** 2
                        counts[kind] += 1
        for key, weight, error, count in zip(KEYS, weights, sums, counts, strict=True):
            total[key] += weight * error / (2 * count) / len(teacher) if count else 0
    return total


@pytest.mark.parametrize("detector", DETECTORS)
def test_both_terms_agree_with_plain_loops(
    detector: str,
    make_predictions: MakePredictions,
    make_features: Make,
    large_and_small: GroundTruth,
) -> None:
    method = randomised(build(setting(detector), {}))
    teacher, student = make_features().cls, make_features(seed=1).cls
    scene = Scene(make_predictions(), large_and_small, iteration=0)
    losses = method(view_of_neck(teacher), view_of_neck(student), scene)
    expected = reference_losses(method, teacher, student, scene)
    assert list(losses) == KEYS
    assert {key: value.item() for key, value in losses.items()} == pytest.approx(expected)
    assert all(value > 0 for value in expected.values())


def test_the_losses_of_three_cells_by_hand() -> None:
    """Errors 1, 2 and 3 in each of two channels; one cell of an object, two of background."""
    teacher = torch.tensor([1.0, 2, 3]).expand(1, 2, 1, 3)
    foreground = torch.tensor([[[True, False, False]]])
    losses = defeat_losses(
        teacher, torch.zeros(1, 2, 1, 3), foreground, ~foreground, DefeatParameters(4, 16)
    )
    assert losses.tolist() == [4 * 1 / 2, 16 * (4 + 9) / 2 / 2]


def test_an_object_belongs_to_the_level_of_its_size() -> None:
    """56 pixels and less than 112 go to the first level, each doubling one further."""
    sides = torch.tensor([0.0, 1, 55, 56, 111, 112, 223, 224, 448, 5000])
    boxes = torch.cat([torch.zeros(10, 2), sides[:, None].expand(-1, 2)], dim=1)[None]
    assert object_levels(boxes, 4).tolist() == [[0, 0, 0, 0, 0, 1, 1, 2, 3, 3]]
    assert object_levels(boxes, 1).tolist() == [[0] * 10]


def test_a_box_that_ends_before_it_begins_belongs_to_the_finest_level() -> None:
    assert object_levels(torch.tensor([[[9.0, 9, 3, 99]]]), 5).tolist() == [[0]]


def test_an_object_covers_whole_cells_but_at_least_one_a_side(truth: GroundTruth) -> None:
    """At stride 8 the first box spans columns 0-2 of 28 pixels, the second less than a row."""
    boxes = torch.tensor([[[0.0, 8, 28, 16]], [[8, 17, 32, 20]]])
    truth = replace(truth, boxes=boxes, valid=torch.ones(2, 1, dtype=torch.bool))
    first, second = object_cells(truth, truth.valid, (3, 4), 8).int().tolist()
    assert first == [[0, 0, 0, 0], [1, 1, 1, 0], [0, 0, 0, 0]]
    assert second == [[0, 0, 0, 0], [0, 0, 0, 0], [0, 1, 1, 1]]


def test_a_padded_box_and_a_box_of_another_level_are_no_objects(truth: GroundTruth) -> None:
    everywhere = torch.ones_like(truth.valid)
    nowhere = ~everywhere
    assert object_cells(truth, everywhere, (4, 6), 8).any()
    assert not object_cells(truth, nowhere, (4, 6), 8).any()
    assert not object_cells(replace(truth, valid=nowhere), everywhere, (4, 6), 8).any()


def test_a_student_equal_to_its_teacher_loses_exactly_nothing_behind_an_identity(
    make_predictions: MakePredictions, make_features: Make, large_and_small: GroundTruth
) -> None:
    method = build(setting(), {}).double()
    for adapter in method.adapters:
        nn.init.dirac_(adapter.weight)  # type: ignore[arg-type]
        nn.init.zeros_(adapter.bias)  # type: ignore[arg-type]
    student = make_features(requires_grad=True).cls
    scene = Scene(make_predictions(), large_and_small, iteration=0)
    losses = method(view_of_neck(make_features().cls), view_of_neck(student), scene)
    assert [value.item() for value in losses.values()] == [0, 0]
    found = torch.autograd.grad(torch.stack(list(losses.values())).sum(), student)
    assert not any(gradient.any() for gradient in found)


def test_ignore_regions_are_neither_foreground_nor_background(
    make_predictions: MakePredictions, make_features: Make, truth: GroundTruth
) -> None:
    ignored = replace(truth, ignored_boxes=torch.tensor([0.0, 0, 48, 32]).expand(2, 1, 4))
    views = view_of_neck(make_features().cls), view_of_neck(make_features(seed=1).cls)
    losses = build(setting(), {}).double()(*views, Scene(make_predictions(), ignored, iteration=0))
    assert [value.item() for value in losses.values()] == [0, 0]


def test_the_adapters_begin_next_to_zero() -> None:
    weight = build(setting(channels=16), {}).adapters[0].weight
    assert 0 < weight.abs().max() <= 2e-4


def test_the_gradient_passes_gradcheck(
    make_predictions: MakePredictions, make_features: Make, large_and_small: GroundTruth
) -> None:
    sizes = ((2, 3), (1, 2))
    method = randomised(build(setting(strides=(16, 24)), {}))
    scene = Scene(make_predictions(sizes, (16, 24)), large_and_small, iteration=0)
    teacher, student = (
        make_features(sizes).cls,
        make_features(sizes, seed=1, requires_grad=True).cls,
    )

    def total(*levels: Tensor) -> Tensor:
        losses = method(view_of_neck(teacher), view_of_neck(list(levels)), scene)
        return torch.stack(list(losses.values())).sum()

    assert torch.autograd.gradcheck(total, student)


@pytest.mark.parametrize("detector", DETECTORS)
def test_every_detector_has_the_author_s_numbers_and_those_given_win(detector: str) -> None:
    assert build(setting(detector), {}).hyper == DefeatParameters(4, 16)
    assert build(setting(detector), {"w_background": 12.0}).hyper == DefeatParameters(4, 12)
