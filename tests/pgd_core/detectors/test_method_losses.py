"""Every method between small detectors of every kind it serves."""

from __future__ import annotations

import pytest
import torch

from pgd_core.detectors.build import STRIDES, build_detector
from pgd_core.detectors.distiller import Distiller
from pgd_core.distill import Setting
from pgd_core.distill.methods import build_method
from pgd_core.jobs.methods import METHODS
from pgd_core.jobs.spec import DetectorSpec
from pgd_core.training.loop import student_of
from tests.pgd_core.detectors.batches import CLASSES, batch, small_spec

SERVED = [
    (name, detector)
    for name, options in METHODS.items()
    if options.distils and name != "pgd"  # test_distiller has it
    for detector in options.detectors
]


def tiny_spec(detector: str) -> DetectorSpec:
    return small_spec(detector, "mobilenet_v2", width=0.25)


def distiller(name: str, detector: str) -> Distiller:
    torch.manual_seed(0)
    teacher, student = (build_detector(tiny_spec(detector), CLASSES) for _ in range(2))
    teacher.init_weights()
    student.init_weights()
    setting = Setting(detector, "resnet", "coco", channels=16, strides=tuple(STRIDES))
    model = Distiller(student, teacher, build_method(name, setting, {})).train()
    model.iteration = 1000  # warm
    return model


@pytest.mark.parametrize(("name", "detector"), SERVED)
def test_a_method_gives_losses_for_each_detector_it_serves(name: str, detector: str) -> None:
    model = distiller(name, detector)
    losses = model(**model.data_preprocessor(batch(), True), mode="loss")
    total, _ = model.parse_losses(losses)
    total.backward()
    found = {key: value for key, value in losses.items() if key.startswith(f"loss_{name}_")}
    assert found
    assert all(value.isfinite() and value >= 0 for value in found.values())
    assert any(value > 0 for value in found.values())
    assert all(parameter.grad is None for parameter in model.teacher.parameters())
    trained = [p for part in (model.student, model.method) for p in part.parameters()]
    assert all(p.grad is not None and p.grad.isfinite().all() for p in trained if p.requires_grad)


@pytest.mark.parametrize("name", sorted({name for name, _ in SERVED}))
def test_what_a_method_trains_is_no_part_of_its_student(name: str) -> None:
    detector = next(detector for method, detector in SERVED if method == name)
    model = distiller(name, detector)
    plain = build_detector(tiny_spec(detector), CLASSES).state_dict()
    assert student_of(model).state_dict().keys() == plain.keys()


@pytest.mark.parametrize("name", sorted({name for name, _ in SERVED}))
def test_every_number_that_a_job_may_give_is_one_of_the_methods(name: str) -> None:
    detector = next(detector for method, detector in SERVED if method == name)
    setting = Setting(detector, "resnet", "coco", channels=16, strides=tuple(STRIDES))
    numbers = dict.fromkeys(METHODS[name].model_fields.keys() - {"name"}, 1)
    options = METHODS[name].model_validate({"name": name, **numbers}).given()
    method = build_method(name, setting, options)
    assert options == numbers == {key: getattr(method.hyper, key) for key in numbers}
