"""What each branch distils (Table 7), with every strategy."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from pgd_core.distill import (
    BRANCHES,
    STRATEGIES,
    DetectorView,
    GroundTruth,
    PgdParameters,
    PredictionGuidedDistillation,
    Scene,
    TeacherPredictions,
    TowerFeatures,
)
from pgd_core.distill.losses import reg_losses
from pgd_core.distill.parameters import Branches, Strategy
from pgd_core.distill.profiles import Profile
from pgd_core.distill.weighting import distillation_masks, split_levels
from pgd_core.errors import InvalidSpec

Make = Callable[..., TowerFeatures]
MakePredictions = Callable[..., TeacherPredictions]
TERMS = {
    "neck": [f"loss_pgd_neck_{t}" for t in ("feature", "spatial_attention", "channel_attention")],
    "cls": [f"loss_pgd_cls_{t}" for t in ("feature", "spatial_attention", "channel_attention")],
    "reg": ["loss_pgd_reg_feature", "loss_pgd_reg_attention"],
}
TERMS["cls+reg"] = TERMS["cls"] + TERMS["reg"]


def view(neck: list[Tensor], cls: list[Tensor], reg: list[Tensor]) -> DetectorView:
    return DetectorView(neck, TowerFeatures(cls, reg), [], [])


def random_view(make_features: Make, seed: int, requires_grad: bool = False) -> DetectorView:
    """Different maps in the neck and in each tower."""
    towers = make_features(seed=seed, requires_grad=requires_grad)
    neck = make_features(seed=seed + 100, requires_grad=requires_grad).cls
    return view(neck, towers.cls, towers.reg)


def losses_of(
    hyper: PgdParameters, teacher: DetectorView, student: DetectorView, scene: Scene
) -> dict[str, Tensor]:
    losses: dict[str, Tensor] = PredictionGuidedDistillation(hyper)(teacher, student, scene)
    return losses


@pytest.fixture
def scene(make_predictions: MakePredictions, truth: GroundTruth) -> Scene:
    return Scene(make_predictions(), truth, iteration=0)


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("branches", BRANCHES)
def test_each_branch_has_its_own_terms_and_moves_its_own_features_only(
    make_features: Make, scene: Scene, strategy: Strategy, branches: Branches
) -> None:
    hyper = PgdParameters(strategy=strategy, branches=branches)
    teacher, student = random_view(make_features, 0), random_view(make_features, 1, True)
    losses = losses_of(hyper, teacher, student, scene)
    assert list(losses) == TERMS[branches]
    assert all(loss > 0 for loss in losses.values())
    torch.stack(list(losses.values())).sum().backward()
    for part, levels in (
        ("neck", student.neck),
        ("cls", student.towers.cls),
        ("reg", student.towers.reg),
    ):
        if part in hyper.parts:
            assert all(f.grad is not None and f.grad.isfinite().all() for f in levels)
            assert any(f.grad.any() for f in levels if f.grad is not None)
        else:
            assert all(f.grad is None for f in levels)


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("branches", BRANCHES)
@pytest.mark.parametrize("profile", ["release", "paper"])
def test_a_student_equal_to_its_teacher_loses_exactly_nothing(
    make_features: Make, scene: Scene, strategy: Strategy, branches: Branches, profile: Profile
) -> None:
    hyper = PgdParameters(strategy=strategy, branches=branches, profile=profile)
    teacher, student = random_view(make_features, 0), random_view(make_features, 0, True)
    losses = losses_of(hyper, teacher, student, scene)
    assert {loss.item() for loss in losses.values()} == {0}
    torch.stack(list(losses.values())).sum().backward()
    for level in student.neck + student.towers.cls + student.towers.reg:
        assert level.grad is None or not level.grad.any()


@pytest.mark.parametrize("profile", ["release", "paper"])
def test_both_branches_are_the_two_single_ones(
    make_features: Make, scene: Scene, profile: Profile
) -> None:
    hyper = PgdParameters(profile=profile)
    views = random_view(make_features, 0), random_view(make_features, 1)
    both = losses_of(hyper, *views, scene)
    alone = {}
    for branches in ("cls", "reg"):
        alone |= losses_of(replace(hyper, branches=branches), *views, scene)  # type: ignore[arg-type]
    assert both == alone


def test_the_neck_has_the_classification_losses_with_the_classification_masks(
    make_features: Make, scene: Scene
) -> None:
    hyper = PgdParameters(xi_cls=0.3)
    teacher, student = random_view(make_features, 0), random_view(make_features, 1)
    neck = losses_of(replace(hyper, branches="neck"), teacher, student, scene)
    as_cls = losses_of(
        replace(hyper, branches="cls"),
        view([], teacher.neck, []),
        view([], student.neck, []),
        scene,
    )
    assert list(neck.values()) == list(as_cls.values())


@pytest.mark.parametrize("branches", BRANCHES)
def test_only_features_that_are_distilled_need_to_fit(
    make_features: Make, scene: Scene, branches: Branches
) -> None:
    hyper = PgdParameters(branches=branches)
    good, other = random_view(make_features, 0), make_features(channels=5).cls
    parts = {"neck": good.neck, "cls": good.towers.cls, "reg": good.towers.reg}
    unused = {part: maps if part in hyper.parts else other for part, maps in parts.items()}
    assert list(losses_of(hyper, good, view(**unused), scene)) == TERMS[branches]
    for part in hyper.parts:
        with pytest.raises(InvalidSpec, match=rf"the {part} features differ"):
            losses_of(hyper, good, view(**parts | {part: other}), scene)


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("profile", ["release", "paper"])
def test_no_strategy_loses_regression_positions_to_the_gathering(
    make_features: Make, scene: Scene, strategy: Strategy, profile: Profile
) -> None:
    """K = 1: a limit of objects times K would cut whole boxes to two positions."""
    hyper = PgdParameters(strategy=strategy, branches="reg", top_k=1, profile=profile)
    teacher, student = random_view(make_features, 0), random_view(make_features, 1)
    masks = distillation_masks(scene.predictions, scene.truth, hyper)
    importances = split_levels(masks.reg_importance, scene.predictions.level_sizes)
    expected = sum(
        reg_losses(t, s, importance, 10_000, hyper)
        for t, s, importance in zip(
            teacher.towers.reg, student.towers.reg, importances, strict=True
        )
    )
    found = losses_of(hyper, teacher, student, scene)
    torch.testing.assert_close(torch.stack(list(found.values())), expected)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_gradients_of_every_strategy_pass_gradcheck(
    make_predictions: MakePredictions, make_features: Make, truth: GroundTruth, strategy: Strategy
) -> None:
    sizes = ((2, 3), (1, 2))
    scene = Scene(make_predictions(sizes, (16, 24)), truth, 0)
    teacher, student = make_features(sizes, channels=2), make_features(sizes, channels=2, seed=1)
    hyper = PgdParameters(strategy=strategy, delta=0.1, alpha=1)

    def total(*levels: Tensor) -> Tensor:
        of_student = view([], list(levels[:2]), list(levels[2:]))
        losses = losses_of(hyper, view([], teacher.cls, teacher.reg), of_student, scene)
        return torch.stack(list(losses.values())).sum()

    # Away from 0, where abs has its kink.
    levels = [(level + 0.5).requires_grad_() for level in student.cls + student.reg]
    assert torch.autograd.gradcheck(total, levels)


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("branches", BRANCHES)
def test_hostile_batches_give_finite_losses_and_gradients(
    make_features: Make, scene: Scene, strategy: Strategy, branches: Branches
) -> None:
    """No objects; objects smaller than a cell; more K than positions; positions on a line."""
    none = [torch.zeros(0, 4)] * 2
    nobody = GroundTruth.from_lists(none, [torch.zeros(0)] * 2, none, [(32, 48)] * 2, "cpu")
    boxes = ([1.0, 1, 2, 2], [2.0, 2, 6, 6], [0.0, 8, 48, 16], [0.0, 0, 48, 32])
    truths = [nobody] + [
        replace(scene.truth, boxes=torch.tensor(box).expand(2, 2, 4)) for box in boxes
    ]
    hyper = PgdParameters(strategy=strategy, branches=branches, top_k=1000)
    teacher = random_view(make_features, 0)
    for truth in truths:
        student = random_view(make_features, 1, requires_grad=True)
        losses = losses_of(hyper, teacher, student, replace(scene, truth=truth))
        total = torch.stack(list(losses.values())).sum()
        total.backward()
        assert total.isfinite()
        levels = student.neck + student.towers.cls + student.towers.reg
        assert all(f.grad is None or f.grad.isfinite().all() for f in levels)
