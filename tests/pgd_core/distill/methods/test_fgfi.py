"""FGFI: near the objects, the student's neck imitates the teacher's."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from pgd_core.distill import DetectorView, GroundTruth, Scene, TeacherPredictions, TowerFeatures
from pgd_core.distill.anchors import anchor_ious
from pgd_core.distill.fine_grained import fine_grained_region, imitation_error
from pgd_core.distill.methods.fgfi import FgfiParameters, FineGrainedImitation, build
from pgd_core.errors import InvalidSpec
from tests.pgd_core.distill.references import region_of
from tests.pgd_core.distill.views import (
    one_object,
    setting,
    three_in_a_row,
    view_of_neck,
    with_anchors,
)

DETECTORS = ("atss", "gfl", "ddod")
KEY = "loss_fgfi_feature"
MakePredictions = Callable[..., TeacherPredictions]
Make = Callable[..., TowerFeatures]


def identity(method: FineGrainedImitation) -> FineGrainedImitation:
    """The method in float64, with adapters that change nothing but signs."""
    for adapter in method.double().adapters:
        nn.init.dirac_(adapter.weight)  # type: ignore[arg-type]
        nn.init.zeros_(adapter.bias)  # type: ignore[arg-type]
    return method


def reference_loss(
    method: FineGrainedImitation, teacher: DetectorView, student: DetectorView, scene: Scene
) -> float:
    """FGFI written a second time, with Python's numbers and loops; the adapters are torch's."""
    region = region_of(scene.predictions, scene.truth)
    adapted = [conv(level) for conv, level in zip(method.adapters, student.neck, strict=True)]
    of_teacher, of_student = (
        torch.cat([level.flatten(2) for level in levels], dim=2).tolist()
        for levels in (teacher.neck, adapted)
    )
    loss = 0.0
    for n in range(len(of_teacher)):
        cells = [a for image, a in region if image == n]
        total = 0.0
        for c in range(len(of_teacher[n])):
            for a in cells:
                total += (of_teacher[n][c][a] - max(0.0, of_student[n][c][a])) ** 2
        if cells:
            loss += total / (2 * len(of_teacher[n]) * len(cells)) / len(of_teacher)
    return method.hyper.w_feature * loss


@pytest.mark.parametrize("detector", DETECTORS)
def test_the_loss_agrees_with_plain_loops(
    detector: str, make_predictions: MakePredictions, make_features: Make, truth: GroundTruth
) -> None:
    torch.manual_seed(0)
    method = build(setting(detector), {}).double()
    assert method.hyper == FgfiParameters(w_feature=2, first_iteration=400)
    teacher, student = (view_of_neck(make_features(seed=seed).cls) for seed in (0, 1))
    scene = Scene(with_anchors(make_predictions(), scale=2), truth, iteration=400)
    loss = method(teacher, student, scene)[KEY].item()
    assert loss == pytest.approx(reference_loss(method, teacher, student, scene))
    assert loss > 0


def test_the_loss_by_hand() -> None:
    """Region of one position, an error of 3 in one channel and 1 in the other: 2 * 10 / (2 * 2)."""
    method = identity(build(setting("gfl", channels=2, strides=(8,)), {}))
    teacher = torch.tensor([[[[3.0, 70, 70]], [[5.0, 70, 70]]]])
    student = torch.tensor([[[[-4.0, 0, 0]], [[4.0, 0, 0]]]])  # -4 is 0 after the adapter
    scene = Scene(three_in_a_row(), one_object([0.0, 0, 10, 10]), iteration=400)
    loss = method(view_of_neck([teacher.double()]), view_of_neck([student.double()]), scene)
    assert loss[KEY].item() == pytest.approx(2 * (9 + 1) / (2 * 2))


def test_a_student_that_is_its_teacher_has_no_loss_where_the_adapter_changes_nothing(
    make_predictions: MakePredictions, make_features: Make, truth: GroundTruth
) -> None:
    """Of features that are not negative: the adapter's output is none either."""
    method = identity(build(setting("gfl"), {}))
    student = view_of_neck(make_features(requires_grad=True).cls)
    scene = Scene(with_anchors(make_predictions()), truth, iteration=400)
    loss = method(view_of_neck(make_features().cls), student, scene)[KEY]
    loss.backward()
    assert loss.item() == 0
    assert not any(level.grad.any() for level in student.neck if level.grad is not None)


@pytest.mark.parametrize("iteration", [0, 399, 400])
def test_it_sets_in_after_the_first_iterations(
    iteration: int, make_predictions: MakePredictions, make_features: Make, truth: GroundTruth
) -> None:
    """Before, its adapters get a gradient of 0: every process of several must have one."""
    method = build(setting("gfl"), {}).double()
    teacher, student = (view_of_neck(make_features(seed=seed).cls) for seed in (0, 1))
    scene = Scene(with_anchors(make_predictions()), truth, iteration)
    loss = method(teacher, student, scene)[KEY]
    loss.backward()
    assert (loss.item() > 0) is (iteration >= 400)
    gradients = [parameter.grad for parameter in method.parameters()]
    assert all(gradient is not None for gradient in gradients)
    assert any(bool(g.any()) for g in gradients if g is not None) is (iteration >= 400)


def test_padding_and_ignore_regions_have_no_part(
    make_predictions: MakePredictions, make_features: Make, truth: GroundTruth
) -> None:
    method = build(setting("gfl"), {}).double()
    everything = torch.tensor([0.0, 0, 48, 32]).expand(2, 1, 4)
    for nowhere in (
        replace(truth, ignored_boxes=everything),
        replace(truth, image_sizes=torch.zeros(2, 2)),
    ):
        scene = Scene(with_anchors(make_predictions()), nowhere, iteration=400)
        views = (view_of_neck(make_features(seed=seed).cls) for seed in (0, 1))
        assert method(*views, scene)[KEY].item() == 0


def test_the_gradient_passes_gradcheck(
    make_predictions: MakePredictions, make_features: Make, truth: GroundTruth
) -> None:
    sizes = ((2, 3), (1, 2))
    predictions = with_anchors(make_predictions(sizes, (16, 24)), (16, 24))
    ious = anchor_ious(predictions, truth)
    region = fine_grained_region(ious, predictions, truth, 0.5)
    assert all(cells.any() for cells in region)
    teacher = make_features(sizes).cls

    def error(*student: Tensor) -> Tensor:
        return imitation_error(list(zip(teacher, student, strict=True)), region)

    assert torch.autograd.gradcheck(error, make_features(sizes, seed=1, requires_grad=True).cls)


def test_a_detector_without_anchors_is_refused() -> None:
    with pytest.raises(InvalidSpec, match=r"'fcos' has no preset; choose from \['atss', 'ddod'"):
        build(setting("fcos"), {})


def test_options_that_were_given_win() -> None:
    hyper = build(setting("ddod"), {"w_feature": 3.0, "first_iteration": 0}).hyper
    assert hyper == FgfiParameters(w_feature=3.0, first_iteration=0)
    with pytest.raises(InvalidSpec, match="w_feature is -1"):
        build(setting("ddod"), {"w_feature": -1})
