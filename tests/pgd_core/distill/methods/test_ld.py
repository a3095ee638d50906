"""LD: box distributions and classes where the student learns boxes, features near the objects."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from pgd_core.distill import DetectorView, GroundTruth, Scene, TeacherPredictions
from pgd_core.distill.methods.ld import (
    LdParameters,
    LocalizationDistillation,
    build,
    ld_regions,
    softened_divergence,
    weighted_mean,
)
from pgd_core.errors import InvalidSpec
from tests.pgd_core.distill.references import (
    assignment_of,
    diou_of,
    is_usable,
    positions_of,
    region_of,
)
from tests.pgd_core.distill.views import (
    one_object,
    setting,
    three_in_a_row,
    view_of_neck,
    with_anchors,
)

BINS = 17
SIZES = ((4, 6), (2, 3))
KEYS = ["loss_ld_main", "loss_ld_valuable", "loss_ld_class", "loss_ld_feature"]
MakePredictions = Callable[..., TeacherPredictions]


@pytest.fixture
def truth(truth: GroundTruth) -> GroundTruth:
    """Objects of both levels' sizes, off the grid, so that no two anchors are equally near."""
    boxes = torch.tensor(
        [[[9.3, 6.2, 21.4, 18.1], [22.3, 4.2, 46.4, 27.1]], [[2.3, 1.2, 14.4, 14.6], [0] * 4]]
    )
    return replace(truth, boxes=boxes)


@pytest.fixture
def predictions(make_predictions: MakePredictions) -> TeacherPredictions:
    return with_anchors(make_predictions(), scale=2)


def view(seed: int, requires_grad: bool = False, bins: int = BINS) -> DetectorView:
    generator = torch.Generator().manual_seed(seed)

    def maps(channels: int) -> list[Tensor]:
        shapes = [(2, channels, *size) for size in SIZES]
        drawn = [torch.randn(*s, generator=generator, dtype=torch.float64) for s in shapes]
        return [(2 * level).requires_grad_(requires_grad) for level in drawn]

    return view_of_neck(maps(3), maps(3), maps(4 * bins))


def divergence(teacher: list[float], student: list[float], tau: float) -> float:
    """tau^2 KL of two softmaxes, over the number of outcomes."""
    t, s = ([math.exp(z / tau) for z in logits] for logits in (teacher, student))
    p, q = ([power / sum(powers) for power in powers] for powers in (t, s))
    return tau**2 * sum(a * math.log(a / b) for a, b in zip(p, q, strict=True)) / len(p)


def valuable_of(predictions: TeacherPredictions, truth: GroundTruth) -> set[tuple[int, int]]:
    positives, thresholds = assignment_of(predictions, truth, 9)
    assert predictions.anchors is not None
    found = set()
    for n, g, box in positions_of(truth):
        for a, anchor in enumerate(predictions.anchors.tolist()):
            in_band = 0.25 * thresholds[n, g] <= diou_of(box, anchor) < thresholds[n, g]
            if in_band and is_usable(predictions, truth, n, a):
                found.add((n, a))
    return found - positives


def columns(levels: list[Tensor]) -> Any:
    """[image][position][channel]"""
    return torch.cat([level.flatten(2) for level in levels], dim=2).transpose(1, 2).tolist()


def reference_losses(
    hyper: LdParameters, teacher: DetectorView, student: DetectorView, scene: Scene
) -> list[float]:
    """LD written a second time, with Python's numbers and loops."""
    predictions, truth = scene.predictions, scene.truth
    logits, boxes, necks = (
        [columns(getattr(v, part)) for v in (teacher, student)]
        for part in ("class_logits", "box_outputs", "neck")
    )
    positives, _ = assignment_of(predictions, truth, 9)

    def of_boxes(region: set[tuple[int, int]]) -> float:
        total, weights = 0.0, 0.0
        for n, a in region:
            weight = max(1 / (1 + math.exp(-z)) for z in logits[1][n][a])
            sides = [slice(side * BINS, (side + 1) * BINS) for side in range(4)]
            kl = sum(divergence(boxes[0][n][a][s], boxes[1][n][a][s], hyper.tau_box) for s in sides)
            total, weights = total + weight * kl / 4, weights + weight
        return total / weights

    classes = [divergence(logits[0][n][a], logits[1][n][a], hyper.tau_class) for n, a in positives]
    feature, region = 0.0, region_of(predictions, truth)
    for n in range(2):
        cells = [a for image, a in region if image == n]
        errors = [
            (t - s) ** 2 for a in cells for t, s in zip(necks[0][n][a], necks[1][n][a], strict=True)
        ]
        feature += sum(errors) / len(errors) / 2
    return [
        hyper.w_main * of_boxes(positives),
        hyper.w_valuable * of_boxes(valuable_of(predictions, truth)),
        hyper.w_class * sum(classes) / len(classes),
        hyper.w_feature * feature,
    ]


def test_all_terms_agree_with_plain_loops(
    predictions: TeacherPredictions, truth: GroundTruth
) -> None:
    method = build(setting("gfl"), {})
    hyper = LdParameters(0.25, 0.25, 10, 2, tau_box=10, tau_class=2, valuable_share=0.25)
    assert method.hyper == hyper
    teacher, student, scene = view(0), view(1), Scene(predictions, truth, iteration=0)
    losses = method(teacher, student, scene)
    assert list(losses) == KEYS
    expected = reference_losses(hyper, teacher, student, scene)
    assert [loss.item() for loss in losses.values()] == pytest.approx(expected)
    assert min(expected) > 0


def test_the_regions_agree_with_plain_loops(
    predictions: TeacherPredictions, truth: GroundTruth
) -> None:
    regions = ld_regions(predictions, truth, 0.25)
    valuable = {tuple(pair) for pair in regions.valuable.nonzero().tolist()}
    assert valuable == valuable_of(predictions, truth)
    assert valuable
    assert not (regions.valuable & regions.positive).any()


def test_the_valuable_region_by_hand() -> None:
    """The object is the first anchor. Threshold 0.964; distance-IoUs 1, then 60 / 140 -
    16 / 296 = 0.375 within [0.241, 0.964), and 20 / 180 - 64 / 424 below 0."""
    regions = ld_regions(three_in_a_row(), one_object([0.0, 0, 10, 10]), 0.25)
    assert regions.positive.tolist() == [[True, False, False]]
    assert regions.valuable.tolist() == [[False, True, False]]
    none = ld_regions(three_in_a_row(), one_object([0.0, 0, 10, 10]), 0.4)
    assert not none.valuable.any()


def test_the_divergence_by_hand() -> None:
    """tau^2 (0.75 log(0.75 / 0.5) + 0.25 log(0.25 / 0.5)) / 2 of odds 3 against odds 1."""
    teacher = torch.tensor([2 * math.log(3.0), 0])
    found = softened_divergence(teacher, torch.zeros(2), 2.0, 0).item()
    assert found == pytest.approx(2 * (0.75 * math.log(1.5) + 0.25 * math.log(0.5)))


def test_the_weighted_mean_by_hand() -> None:
    values, weights = torch.tensor([[1.0, 5, 9]]), torch.tensor([[3.0, 1, 0]])
    assert weighted_mean(values, weights).item() == 2
    assert weighted_mean(values, torch.zeros(1, 3)).item() == 0


def test_a_student_that_is_its_teacher_has_no_loss_and_no_gradient(
    predictions: TeacherPredictions, truth: GroundTruth
) -> None:
    student = view(0, requires_grad=True)
    losses = build(setting("gfl"), {})(view(0), student, Scene(predictions, truth, iteration=0))
    assert [loss.item() for loss in losses.values()] == [0, 0, 0, 0]
    torch.stack(list(losses.values())).sum().backward()
    for level in student.neck + student.class_logits + student.box_outputs:
        assert level.grad is not None
        assert level.grad.abs().max() < 1e-12


def test_each_term_teaches_its_own_part_of_the_student(
    predictions: TeacherPredictions, truth: GroundTruth
) -> None:
    """The student's confidence weighs the boxes, and is not taught by them."""
    student = view(1, requires_grad=True)
    losses = build(setting("gfl"), {})(view(0), student, Scene(predictions, truth, iteration=0))
    parts = {"neck": student.neck, "class": student.class_logits, "box": student.box_outputs}
    taught = {}
    for key, loss in losses.items():
        flat = [level for levels in parts.values() for level in levels]
        found = iter(torch.autograd.grad(loss, flat, retain_graph=True, materialize_grads=True))
        moved = {part: [bool(next(found).any()) for _ in levels] for part, levels in parts.items()}
        taught[key] = {part for part, of_levels in moved.items() if any(of_levels)}
    assert taught == dict(zip(KEYS, ({"box"}, {"box"}, {"class"}, {"neck"}), strict=True))


def test_one_class_has_no_class_term(predictions: TeacherPredictions, truth: GroundTruth) -> None:
    views = []
    for seed in (0, 1):
        full = view(seed)
        views.append(replace(full, class_logits=[level[:, :1] for level in full.class_logits]))
    losses = build(setting("gfl"), {})(*views, Scene(predictions, truth, iteration=0))
    assert losses["loss_ld_class"].item() == 0
    assert losses["loss_ld_main"].item() > 0


def test_an_ignore_region_leaves_the_positives_and_takes_the_rest(
    predictions: TeacherPredictions, truth: GroundTruth
) -> None:
    """Positives are what the student learns; its detector does not look at ignore regions."""
    everything = torch.tensor([-1.0, -1, 49, 33]).expand(2, 1, 4)
    plain = ld_regions(predictions, truth, 0.25)
    ignoring = ld_regions(predictions, replace(truth, ignored_boxes=everything), 0.25)
    assert ignoring.positive.equal(plain.positive)
    assert not ignoring.valuable.any()
    assert not any(level.any() for level in ignoring.fine_grained)


def test_gradients_pass_gradcheck(predictions: TeacherPredictions, truth: GroundTruth) -> None:
    """Of boxes and features; the classes apart, whose confidence has no gradient in the boxes."""
    method = LocalizationDistillation(LdParameters())
    teacher, student = view(0, bins=2), view(1, bins=2)
    scene = Scene(predictions, truth, iteration=0)

    def total(*levels: Tensor) -> Tensor:
        changed = replace(student, neck=list(levels[:2]), box_outputs=list(levels[2:]))
        return torch.stack(list(method(teacher, changed, scene).values())).sum()

    def of_classes(*levels: Tensor) -> Tensor:
        changed = replace(student, class_logits=list(levels))
        loss: Tensor = method(teacher, changed, scene)["loss_ld_class"]
        return loss

    parts = [level.requires_grad_() for level in student.neck + student.box_outputs]
    assert torch.autograd.gradcheck(total, parts, fast_mode=True)
    logits = [level.requires_grad_() for level in student.class_logits]
    assert torch.autograd.gradcheck(of_classes, logits, fast_mode=True)


def test_heads_without_distributions_and_teachers_without_anchors_are_refused(
    predictions: TeacherPredictions, truth: GroundTruth
) -> None:
    method = build(setting("gfl"), {})
    with pytest.raises(InvalidSpec, match="4 box outputs gives no distribution"):
        method(view(0, bins=1), view(1, bins=1), Scene(predictions, truth, iteration=0))
    without = replace(predictions, anchors=None)
    with pytest.raises(InvalidSpec, match="anchor boxes"):
        method(view(0), view(1), Scene(without, truth, iteration=0))
    with pytest.raises(InvalidSpec, match=r"'atss' has no preset; choose from \['gfl'\]"):
        build(setting("atss"), {})


def test_options_that_were_given_win() -> None:
    assert build(setting("gfl"), {"tau_box": 5.0}).hyper == LdParameters(tau_box=5.0)
    with pytest.raises(InvalidSpec, match="tau_class is 0"):
        build(setting("gfl"), {"tau_class": 0})
