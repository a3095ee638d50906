"""LD: distributions of box sides, classes, and the neck near objects."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from pgd_core.distill import DetectorView, GroundTruth, Scene, TeacherPredictions, TowerFeatures
from pgd_core.distill.anchors import atss_assignment, imitation_region
from pgd_core.distill.level_masks import usable_cells
from pgd_core.distill.methods.ld import build, divergence, weighted_mean
from pgd_core.errors import InvalidSpec
from tests.pgd_core.distill.methods.test_fgfi import scene_of
from tests.pgd_core.distill.views import setting

BINS = 5
SIZES = ((4, 6), (2, 3))
MakePredictions = Callable[..., TeacherPredictions]


def view(seed: int, requires_grad: bool = False) -> DetectorView:
    generator = torch.Generator().manual_seed(seed)

    def maps(channels: int) -> list[Tensor]:
        return [
            torch.randn(2, channels, *size, generator=generator, dtype=torch.float64)
            .mul(3)
            .requires_grad_(requires_grad)
            for size in SIZES
        ]

    return DetectorView(maps(3), TowerFeatures([], []), maps(3), maps(4 * BINS))


def reference_divergence(teacher: list[float], student: list[float], tau: float) -> float:
    def log_softmax(logits: list[float]) -> list[float]:
        total = math.log(sum(math.exp(z / tau) for z in logits))
        return [z / tau - total for z in logits]

    t, s = log_softmax(teacher), log_softmax(student)
    kl = sum(math.exp(a) * (a - b) for a, b in zip(t, s, strict=True))
    return tau**2 * kl / len(t)


def reference_losses(
    teacher: DetectorView, student: DetectorView, scene: Scene
) -> dict[str, float]:
    anchors = scene.predictions.anchors
    assert anchors is not None
    assigned = atss_assignment(anchors, SIZES, scene.truth)
    region = imitation_region(anchors, scene.truth)
    usable = torch.cat([u.flatten(1) for u in usable_cells(scene.predictions, scene.truth)], dim=1)

    def at(maps: list[Tensor], n: int, a: int) -> list[float]:
        flat = torch.cat([level.flatten(2) for level in maps], dim=2)
        return [float(value) for value in flat[n, :, a]]

    sums = {name: [0.0, 0.0] for name in ("main", "valuable", "class", "feature")}
    for n in range(2):
        for a in range(len(anchors)):
            if not usable[n, a]:
                continue
            sides = [at(v.box_outputs, n, a) for v in (teacher, student)]
            of_box = (
                sum(
                    reference_divergence(
                        *(s[side * BINS : (side + 1) * BINS] for s in sides), tau=10
                    )
                    for side in range(4)
                )
                / 4
            )
            logits = [at(v.class_logits, n, a) for v in (teacher, student)]
            confidence = 1 / (1 + math.exp(-max(logits[1])))
            for name, mask in (("main", assigned.positive), ("valuable", assigned.valuable)):
                if mask[n, a]:
                    sums[name][0] += confidence * of_box
                    sums[name][1] += confidence
            if assigned.positive[n, a]:
                sums["class"][0] += reference_divergence(*logits, tau=2)
                sums["class"][1] += 1
            if region[n, a]:
                necks = zip(*(at(v.neck, n, a) for v in (teacher, student)), strict=True)
                sums["feature"][0] += sum((t - s) ** 2 for t, s in necks) / 3
                sums["feature"][1] += 1
    weights = {"main": 0.25, "valuable": 0.25, "class": 10, "feature": 2}
    assert all(count for _, count in sums.values())
    return {f"loss_ld_{k}": weights[k] * total / count for k, (total, count) in sums.items()}


def test_the_losses_agree_with_plain_loops(
    make_predictions: MakePredictions, truth: GroundTruth
) -> None:
    teacher, student = view(0), view(1)
    scene = scene_of(make_predictions(), truth)
    losses = build(setting("gfl"), {})(teacher, student, scene)
    expected = reference_losses(teacher, student, scene)
    assert {k: v.item() for k, v in losses.items()} == pytest.approx(expected)


def test_a_student_that_is_its_teacher_has_no_loss_and_no_gradient(
    make_predictions: MakePredictions, truth: GroundTruth
) -> None:
    student = view(0, requires_grad=True)
    losses = build(setting("gfl"), {})(view(0), student, scene_of(make_predictions(), truth))
    assert all(value.item() == 0 for value in losses.values())
    torch.stack(list(losses.values())).sum().backward()
    for level in student.box_outputs + student.class_logits + student.neck:
        assert level.grad is not None
        assert level.grad.abs().max() < 1e-12


def test_gradients_reach_the_student_and_never_the_teacher(
    make_predictions: MakePredictions, truth: GroundTruth
) -> None:
    teacher, student = view(0, requires_grad=True), view(1, requires_grad=True)
    losses = build(setting("gfl"), {})(teacher, student, scene_of(make_predictions(), truth))
    torch.stack(list(losses.values())).sum().backward()
    for maps in ("box_outputs", "class_logits", "neck"):
        assert all(level.grad is None for level in getattr(teacher, maps))
        assert any(level.grad.any() for level in getattr(student, maps))


def test_without_objects_every_loss_is_nothing(make_predictions: MakePredictions) -> None:
    none = [torch.zeros(0, 4)] * 2
    empty = GroundTruth.from_lists(none, [torch.zeros(0)] * 2, none, [(32, 48)] * 2, "cpu")
    student = view(1, requires_grad=True)
    losses = build(setting("gfl"), {})(view(0), student, scene_of(make_predictions(), empty))
    assert all(value.item() == 0 for value in losses.values())
    torch.stack(list(losses.values())).sum().backward()
    assert all(level.grad is not None for level in student.box_outputs)


def test_a_divergence_worked_by_hand() -> None:
    teacher = torch.tensor([math.log(3.0), 0.0], dtype=torch.float64)
    student = torch.zeros(2, dtype=torch.float64)
    expected = (0.75 * math.log(1.5) + 0.25 * math.log(0.5)) / 2
    assert divergence(teacher, student, 1.0).item() == pytest.approx(expected)
    scaled = divergence(4 * teacher, 4 * student, 4.0)
    assert scaled.item() == pytest.approx(16 * expected)


def test_a_mean_over_no_weight_is_nothing() -> None:
    assert weighted_mean(torch.ones(3), torch.zeros(3)) == 0


def test_the_divergence_passes_gradcheck() -> None:
    teacher = torch.randn(2, 5, dtype=torch.float64)
    student = torch.randn(2, 5, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda s: divergence(teacher, s, 3.0), student)


@pytest.mark.parametrize("detector", ["fcos", "autoassign", "atss", "ddod"])
def test_a_detector_without_distributions_has_no_preset(detector: str) -> None:
    with pytest.raises(InvalidSpec, match="no preset"):
        build(setting(detector), {})
