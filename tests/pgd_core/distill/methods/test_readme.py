"""The recipe for a new method works as it is written."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import nn

import pgd_core.distill.methods
from pgd_core.distill import (
    DetectorView,
    GroundTruth,
    Scene,
    Setting,
    TeacherPredictions,
    TowerFeatures,
)
from pgd_core.distill.methods import build_method
from pgd_core.jobs import methods

README = Path(pgd_core.distill.methods.__file__).with_name("README.md")
FILE, LINE = re.findall(r"^```python\n(.*?)^```$", README.read_text(), re.M | re.S)


@pytest.fixture
def options(monkeypatch: pytest.MonkeyPatch) -> type[methods.MethodOptions]:
    """The recipe's method, its file and its line of options put where they belong."""
    name = re.search(r"pgd_core/distill/methods/(\w+)\.py`:", README.read_text())
    assert name is not None
    module = ModuleType(f"pgd_core.distill.methods.{name[1]}")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    exec(compile(FILE, str(README), "exec"), module.__dict__)
    made: type[methods.MethodOptions] = eval(LINE, vars(methods))
    assert made.model_fields["name"].default == name[1]
    return made


def build(options: type[methods.MethodOptions], detector: str = "fcos", **given: Any) -> nn.Module:
    spec = options.model_validate({"name": options.model_fields["name"].default, **given})
    setting = Setting(detector, "resnet", "coco", 3, (8, 16))
    return build_method(spec.name, setting, spec.given())


def test_its_numbers_are_the_preset_s_unless_given(options: type[methods.MethodOptions]) -> None:
    assert build(options).hyper.alpha == 0.02
    assert build(options, "atss").hyper.alpha == 0.01
    assert build(options, alpha=0.5).hyper.alpha == 0.5


def test_it_distils_a_step(
    options: type[methods.MethodOptions],
    make_predictions: Callable[..., TeacherPredictions],
    make_features: Callable[..., TowerFeatures],
    truth: GroundTruth,
) -> None:
    def view(neck: list[torch.Tensor]) -> DetectorView:
        return DetectorView(neck, TowerFeatures([], []), [], [])

    method, scene = build(options, alpha=2.0), Scene(make_predictions(), truth, iteration=0)
    teacher, seen = view(make_features(seed=0).cls), make_features(seed=1).cls
    torch.manual_seed(0)
    student = nn.Conv2d(3, 3, 1).double()
    optimizer = torch.optim.SGD(student.parameters(), lr=0.1)
    totals = []
    for _ in range(2):
        losses = method(teacher, view([student(level) for level in seen]), scene)
        total = torch.stack(list(losses.values())).sum()
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
        totals.append(total.item())
    assert totals[1] < totals[0]
    assert list(losses) == ["loss_neck_l2_feature"]


def test_it_is_nothing_where_student_and_teacher_are_equal(
    options: type[methods.MethodOptions],
    make_predictions: Callable[..., TeacherPredictions],
    make_features: Callable[..., TowerFeatures],
    truth: GroundTruth,
) -> None:
    towers = make_features()
    view = DetectorView(towers.cls, towers, [], [])
    losses = build(options)(view, view, Scene(make_predictions(), truth, iteration=0))
    assert [loss.item() for loss in losses.values()] == [0]
