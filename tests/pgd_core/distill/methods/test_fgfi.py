"""FGFI: the student imitates near objects, after a while."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from pgd_core.distill import GroundTruth, Scene, TeacherPredictions, TowerFeatures
from pgd_core.distill.anchors import imitation_region
from pgd_core.distill.level_masks import usable_cells
from pgd_core.distill.methods.fgfi import FineGrainedImitation, build
from pgd_core.distill.weighting import split_levels
from pgd_core.errors import InvalidSpec
from tests.pgd_core.distill.views import setting, view_of_neck

MakePredictions = Callable[..., TeacherPredictions]
Make = Callable[..., TowerFeatures]


def scene_of(predictions: TeacherPredictions, truth: GroundTruth, iteration: int = 400) -> Scene:
    """Anchors of three strides about every point."""
    half = torch.tensor([12.0] * 24 + [24.0] * 6, dtype=torch.float64)[:, None]
    anchors = torch.cat([predictions.points - half, predictions.points + half], dim=1)
    return Scene(replace(predictions, anchors=anchors), truth, iteration)


def identity(method: FineGrainedImitation) -> FineGrainedImitation:
    for adapter in method.double().adapters:
        nn.init.dirac_(adapter.weight)  # type: ignore[arg-type]
        nn.init.zeros_(adapter.bias)  # type: ignore[arg-type]
    return method


def reference_loss(
    method: FineGrainedImitation, teacher: list[Tensor], student: list[Tensor], scene: Scene
) -> float:
    assert scene.predictions.anchors is not None
    region = imitation_region(scene.predictions.anchors, scene.truth)
    regions = split_levels(region, scene.predictions.level_sizes)
    usable = usable_cells(scene.predictions, scene.truth)
    error, count = 0.0, 0
    for adapter, t, s, region, may in zip(
        method.adapters, teacher, student, regions, usable, strict=True
    ):
        adapted = adapter(s)
        images, channels, height, width = t.shape
        for n in range(images):
            for i in range(height):
                for j in range(width):
                    if region[n, i, j] and may[n, i, j]:
                        count += 1
                        for c in range(channels):
                            seen = max(0.0, adapted[n, c, i, j].item())
                            error += (seen - t[n, c, i, j].item()) ** 2
    assert count
    return 2.0 * error / (2 * count)


@pytest.mark.parametrize("detector", ["atss", "gfl", "ddod"])
def test_the_loss_agrees_with_plain_loops(
    detector: str, make_predictions: MakePredictions, make_features: Make, truth: GroundTruth
) -> None:
    torch.manual_seed(0)
    method = build(setting(detector), {}).double()
    teacher, student = make_features(seed=0).cls, make_features(seed=1).cls
    scene = scene_of(make_predictions(), truth)
    losses = method(view_of_neck(teacher), view_of_neck(student), scene)
    expected = reference_loss(method, teacher, student, scene)
    assert losses["loss_fgfi_feature"].item() == pytest.approx(expected)


def test_a_student_that_is_its_teacher_has_no_loss(
    make_predictions: MakePredictions, make_features: Make, truth: GroundTruth
) -> None:
    method, features = identity(build(setting("gfl"), {})), make_features().cls  # after a ReLU
    losses = method(
        view_of_neck(features), view_of_neck(features), scene_of(make_predictions(), truth)
    )
    assert losses["loss_fgfi_feature"] == 0


def test_it_begins_after_the_idle_iterations_and_has_a_gradient_before(
    make_predictions: MakePredictions, make_features: Make, truth: GroundTruth
) -> None:
    method = build(setting("gfl"), {}).double()
    teacher, student = make_features(seed=0).cls, make_features(seed=1).cls
    views = view_of_neck(teacher), view_of_neck(student)
    before = method(*views, scene_of(make_predictions(), truth, 399))["loss_fgfi_feature"]
    after = method(*views, scene_of(make_predictions(), truth, 400))["loss_fgfi_feature"]
    assert before == 0 < after
    before.backward()  # several processes need a gradient of every weight at every step
    assert all(p.grad is not None and p.grad.eq(0).all() for p in method.parameters())


def test_gradients_reach_the_student_and_the_adapters_and_never_the_teacher(
    make_predictions: MakePredictions, make_features: Make, truth: GroundTruth
) -> None:
    method = build(setting("gfl"), {}).double()
    teacher = make_features(seed=0, requires_grad=True).cls
    student = make_features(seed=1, requires_grad=True).cls
    losses = method(
        view_of_neck(teacher), view_of_neck(student), scene_of(make_predictions(), truth)
    )
    losses["loss_fgfi_feature"].backward()
    assert all(level.grad is None for level in teacher)
    assert all(level.grad is not None for level in student)
    assert all(p.grad is not None for p in method.parameters())


def test_without_objects_there_is_nothing_to_imitate(
    make_predictions: MakePredictions, make_features: Make
) -> None:
    none = [torch.zeros(0, 4)] * 2
    empty = GroundTruth.from_lists(none, [torch.zeros(0)] * 2, none, [(32, 48)] * 2, "cpu")
    method = build(setting("gfl"), {}).double()
    views = view_of_neck(make_features().cls), view_of_neck(make_features(seed=1).cls)
    assert method(*views, scene_of(make_predictions(), empty))["loss_fgfi_feature"] == 0


@pytest.mark.parametrize("detector", ["fcos", "autoassign"])
def test_a_detector_without_anchors_has_no_preset(detector: str) -> None:
    with pytest.raises(InvalidSpec, match="no preset"):
        build(setting(detector), {})
