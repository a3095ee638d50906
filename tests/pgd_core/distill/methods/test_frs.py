"""FRS: where the teacher sees any class, the student follows its features and classes."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from pgd_core.distill import DetectorView, GroundTruth, Scene, TeacherPredictions, TowerFeatures
from pgd_core.distill.level_masks import cells_on_image
from pgd_core.distill.methods.frs import (
    FeatureRichnessDistillation,
    FrsParameters,
    build,
    class_loss,
    richness_shares,
)
from pgd_core.errors import InvalidSpec
from tests.pgd_core.distill.views import setting, view_of_neck

KEYS = ["loss_frs_feature", "loss_frs_class"]
PRESETS = {
    "fcos": (0.01, 0.05),
    "autoassign": (0.01, 0.05),
    "gfl": (0.1, 0.05),
    "atss": (0.005, 0.02),
    "ddod": (0.005, 0.02),
}
WARM = 500
MakePredictions = Callable[..., TeacherPredictions]
Make = Callable[..., TowerFeatures]


def identity(method: FeatureRichnessDistillation) -> FeatureRichnessDistillation:
    """The method in float64, with adapters that change nothing."""
    for adapter in method.double().adapters:
        nn.init.dirac_(adapter.weight)  # type: ignore[arg-type]
        nn.init.zeros_(adapter.bias)  # type: ignore[arg-type]
    return method


def view(features: TowerFeatures) -> DetectorView:
    """The first tower as the neck, and the second, shifted to both signs, as the logits."""
    return view_of_neck(features.cls, [level - 0.5 for level in features.reg])


def reference_losses(
    method: FeatureRichnessDistillation,
    teacher: DetectorView,
    student: DetectorView,
    scene: Scene,
) -> dict[str, float]:
    """FRS written a second time, with Python's numbers and loops; the adapters are torch's."""
    total = dict.fromkeys(KEYS, 0.0)
    on_image = cells_on_image(scene.predictions, scene.truth)
    warmth = min(1.0, scene.iteration / WARM)
    for level, conv in enumerate(method.adapters):
        t, s = teacher.neck[level], conv(student.neck[level])
        images, channels, height, width = t.shape
        richness, feature, cross_entropy = 0.0, 0.0, 0.0
        for n in range(images):
            for i in range(height):
                for j in range(width):
                    if not on_image[level][n, i, j]:
                        continue
                    of_teacher, of_student = (
                        [1 / (1 + math.exp(-z)) for z in v.class_logits[level][n, :, i, j].tolist()]
                        for v in (teacher, student)
                    )
                    m = max(of_teacher)
                    richness += m
                    for p, q in zip(of_teacher, of_student, strict=True):
                        cross_entropy -= m * (p * math.log(q) + (1 - p) * math.log(1 - q))
                    for c in range(channels):
                        feature += m * (t[n, c, i, j].item() - s[n, c, i, j].item()) ** 2
        total[KEYS[0]] += warmth * method.hyper.w_feature * feature / richness
        total[KEYS[1]] += warmth * method.hyper.w_class * cross_entropy / richness
    return total


@pytest.mark.parametrize("detector", PRESETS)
@pytest.mark.parametrize("iteration", [100, 9000])
def test_both_terms_agree_with_plain_loops(
    detector: str,
    iteration: int,
    make_predictions: MakePredictions,
    make_features: Make,
    truth: GroundTruth,
) -> None:
    torch.manual_seed(0)
    method = build(setting(detector), {}).double()
    teacher, student = view(make_features()), view(make_features(seed=1))
    scene = Scene(make_predictions(), truth, iteration)
    losses = method(teacher, student, scene)
    expected = reference_losses(method, teacher, student, scene)
    assert list(losses) == KEYS
    assert {key: value.item() for key, value in losses.items()} == pytest.approx(expected)
    assert all(value > 0 for value in expected.values())


def test_a_position_counts_by_its_likeliest_class_by_hand() -> None:
    """Likeliest classes 3/4 and 1/4 share the weight as 3 to 1."""
    probs = torch.tensor([[[[0.5, 0.25]], [[0.75, 0.0]]]])
    on_image = torch.ones(1, 1, 2, dtype=torch.bool)
    share = richness_shares(probs, on_image)
    torch.testing.assert_close(share, torch.tensor([[[[0.75, 0.25]]]]))
    unsure = torch.zeros(1, 2, 1, 2)
    torch.testing.assert_close(class_loss(probs, unsure, share), torch.tensor(2 * math.log(2)))


def test_padding_has_no_richness() -> None:
    """Departure: the authors leave it in."""
    probs, on_image = torch.full((1, 3, 1, 2), 0.5), torch.tensor([[[True, False]]])
    assert richness_shares(probs, on_image).tolist() == [[[[1, 0]]]]
    assert richness_shares(probs, ~torch.ones_like(on_image)).tolist() == [[[[0, 0]]]]


def test_ignore_regions_count_as_the_teacher_sees_them(
    make_predictions: MakePredictions, make_features: Make, truth: GroundTruth
) -> None:
    ignored = replace(truth, ignored_boxes=torch.tensor([0.0, 0, 48, 32]).expand(2, 1, 4))
    method = identity(build(setting(), {}))
    found, expected = (
        method(
            view(make_features()), view(make_features(seed=1)), Scene(make_predictions(), t, 500)
        )
        for t in (ignored, truth)
    )
    assert found == expected


def test_a_student_equal_to_its_teacher_has_the_teachers_entropy_and_no_gradient(
    make_predictions: MakePredictions, make_features: Make, truth: GroundTruth
) -> None:
    student = make_features(requires_grad=True)
    method = identity(build(setting(), {}))
    losses = method(view(make_features()), view(student), Scene(make_predictions(), truth, WARM))
    assert losses[KEYS[0]] == 0
    assert losses[KEYS[1]] > 0
    total = torch.stack(list(losses.values())).sum()
    found = torch.autograd.grad(total, student.cls + student.reg)
    assert not any(gradient.any() for gradient in found)


def test_logits_beyond_all_measure_stay_finite(
    make_predictions: MakePredictions, make_features: Make, truth: GroundTruth
) -> None:
    scene = Scene(make_predictions(), truth, WARM)
    method = identity(build(setting(), {})).float()
    for of_teacher, of_student in ((-1e4, 1e4), (1e4, -1e4), (-1e4, -1e4)):
        teacher, student = (
            view_of_neck(
                [level.float() for level in make_features().cls],
                [torch.full_like(level, logit).float() for level in make_features().reg],
            )
            for logit in (of_teacher, of_student)
        )
        assert all(value.isfinite() for value in method(teacher, student, scene).values())


@pytest.mark.parametrize(
    ("iteration", "share"), [(0, 0), (1, 0.002), (250, 0.5), (500, 1), (90_000, 1)]
)
def test_the_weights_grow_over_the_first_iterations(iteration: int, share: float) -> None:
    assert FrsParameters().warmth(iteration) == share
    assert FrsParameters(warm_up_iterations=0).warmth(iteration) == 1


def test_the_gradient_passes_gradcheck(
    make_predictions: MakePredictions, make_features: Make, truth: GroundTruth
) -> None:
    sizes = ((2, 3), (1, 2))
    torch.manual_seed(0)
    method = build(setting(strides=(16, 24)), {"w_feature": 1.0, "w_class": 1.0}).double()
    scene = Scene(make_predictions(sizes, (16, 24)), truth, WARM)
    teacher, student = view(make_features(sizes)), make_features(sizes, seed=1, requires_grad=True)

    def total(*levels: Tensor) -> Tensor:
        losses = method(teacher, view_of_neck(list(levels[:2]), list(levels[2:])), scene)
        return torch.stack(list(losses.values())).sum()

    assert torch.autograd.gradcheck(total, student.cls + student.reg)


def test_heads_of_different_classes_are_refused(
    make_predictions: MakePredictions, make_features: Make, truth: GroundTruth
) -> None:
    teacher, student = make_features(), make_features(channels=4)
    method, scene = build(setting(), {}).double(), Scene(make_predictions(), truth, WARM)
    with pytest.raises(InvalidSpec, match="class logits differ"):
        method(view(teacher), view_of_neck(teacher.cls, student.reg), scene)


@pytest.mark.parametrize("detector", PRESETS)
def test_each_detector_has_its_numbers_and_those_given_win(detector: str) -> None:
    preset = FrsParameters.preset(setting(detector))
    assert (preset.w_feature, preset.w_class) == PRESETS[detector]
    assert preset.warm_up_iterations == WARM
    given = build(setting(detector), {"w_class": 1.0, "warm_up_iterations": 0}).hyper
    assert given == FrsParameters(preset.w_feature, 1.0, 0)
