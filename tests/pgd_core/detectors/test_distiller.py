from __future__ import annotations

import gc
import weakref

import pytest
import torch
from torch import Tensor, nn

from pgd_core.detectors.build import build_detector
from pgd_core.detectors.distiller import Distiller
from pgd_core.detectors.taps import tap
from pgd_core.distill import PgdParameters, PredictionGuidedDistillation
from pgd_core.distill.parameters import Branches
from pgd_core.jobs.spec import DetectorName
from tests.pgd_core.detectors.batches import CLASSES, batch, small_spec


def distiller(detector: str = "fcos", student_backbone: str = "mobilenet_v2") -> Distiller:
    torch.manual_seed(0)
    teacher = build_detector(small_spec(detector), CLASSES)
    student = build_detector(small_spec(detector, student_backbone), CLASSES)
    teacher.init_weights()
    student.init_weights()
    method = PredictionGuidedDistillation(PgdParameters.preset(detector))
    return Distiller(student, teacher, method).train()


@pytest.mark.parametrize("detector", DetectorName)
@pytest.mark.parametrize("student", ["resnet18", "mobilenet_v2"])
def test_each_detector_distils_and_only_the_student_gets_gradients(
    detector: str, student: str
) -> None:
    model = distiller(detector, student)
    losses = model(**model.data_preprocessor(batch(), True), mode="loss")
    total, _ = model.parse_losses(losses)
    total.backward()
    assert torch.isfinite(total)
    assert sum(name.startswith("loss_pgd") for name in losses) == 5
    assert all(losses[name].item() > 0 for name in losses if name.startswith("loss_pgd"))
    assert all(p.grad is None for p in model.teacher.parameters())
    assert all(p.grad is not None for p in model.student.parameters() if p.requires_grad)


@pytest.mark.parametrize("detector", DetectorName)
def test_a_student_that_is_its_teacher_has_no_distillation_loss(detector: str) -> None:
    model = distiller(detector, "resnet18")
    model.student.load_state_dict(model.teacher.state_dict())
    model.student.eval()  # BatchNorm's batch statistics are no difference of the weights
    losses = model(**model.data_preprocessor(batch(), True), mode="loss")
    assert all(losses[name].item() == 0 for name in losses if name.startswith("loss_pgd"))


@pytest.mark.parametrize(
    ("branches", "terms"), [("neck", 3), ("cls", 3), ("reg", 2), ("cls+reg", 5)]
)
def test_each_branch_finds_its_features_in_a_detector(branches: Branches, terms: int) -> None:
    model = distiller()
    model.method = PredictionGuidedDistillation(PgdParameters(branches=branches, strategy="box"))
    losses = model(**model.data_preprocessor(batch(), True), mode="loss")
    of_method = [losses[name] for name in losses if name.startswith("loss_pgd")]
    assert len(of_method) == terms
    assert all(loss.item() > 0 and loss.requires_grad for loss in of_method)


def test_the_teacher_is_in_no_state_dict_no_parameter_and_always_evaluates() -> None:
    model = distiller()
    assert not any("teacher" in name for name in model.state_dict())
    owned = {id(p) for p in model.parameters()}
    assert not any(id(p) in owned for p in model.teacher.parameters())
    model.train()
    assert not any(module.training for module in model.teacher.modules())


def test_the_teacher_follows_the_student_to_another_type() -> None:
    model = distiller().double()
    assert {p.dtype for p in model.teacher.parameters()} == {torch.float64}


def test_taps_hold_nothing_after_the_step() -> None:
    model = distiller()
    seen: list[weakref.ref[Tensor]] = []
    block = model.student.bbox_head.cls_convs[0]
    handle = block.register_forward_hook(lambda _m, _i, out: seen.append(weakref.ref(out)))
    model.parse_losses(model(**model.data_preprocessor(batch(), True), mode="loss"))[0].backward()
    handle.remove()
    gc.collect()
    assert len(seen) == 5
    assert all(reference() is None for reference in seen)
    assert not block._forward_hooks


def test_taps_are_removed_when_the_forward_pass_fails() -> None:
    model = distiller().student
    with pytest.raises(RuntimeError, match="on purpose"), tap(model):
        raise RuntimeError("on purpose")
    assert not model.bbox_head.cls_convs[0]._forward_hooks
    assert not model.bbox_head.reg_convs[0]._forward_hooks


def test_bfloat16_autocast_trains_a_step() -> None:
    model = distiller()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        losses = model(**model.data_preprocessor(batch(), True), mode="loss")
    total, _ = model.parse_losses(losses)
    total.backward()
    assert torch.isfinite(total)
    assert all(losses[name].dtype == torch.float32 for name in losses if "pgd" in name)


def test_predictions_are_the_students_own() -> None:
    model = distiller().eval()
    with torch.no_grad():
        ours = model.val_step(batch())
        theirs = model.student.val_step(batch())
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a.pred_instances.bboxes, b.pred_instances.bboxes)


def test_initialising_the_distiller_leaves_the_student_alone() -> None:
    model = distiller()
    before = {k: v.clone() for k, v in model.student.state_dict().items()}
    model.init_weights()
    assert all(torch.equal(v, before[k]) for k, v in model.student.state_dict().items())
    assert isinstance(model.method, nn.Module)
