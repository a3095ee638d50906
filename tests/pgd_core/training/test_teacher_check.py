from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from pgd_core.detectors.build import build_detector
from pgd_core.jobs.recognised import TeacherAnswer
from pgd_core.jobs.run import TeacherFile
from pgd_core.jobs.spec import DetectorName, DetectorSpec
from pgd_core.training.checkpoints import sha256_of
from pgd_core.training.teacher_check import Declaration, check_teacher, main
from tests.pgd_core.detectors.batches import small_spec
from tests.pgd_core.training.runs import CLASSES


@pytest.fixture
def uploaded(teachers: dict[str, TeacherFile], tmp_path: Path) -> Path:
    """An MMDetection checkpoint as a user has it."""
    path = tmp_path / "uploaded.pth"
    torch.save({"state_dict": load_file(teachers["gfl"].weights), "meta": {"epoch": 36}}, path)
    return path


def checked(
    file: Path, folder: Path, model: DetectorSpec | None = None, classes: Any = None
) -> TeacherAnswer:
    return check_teacher(file, Declaration(model=model, classes=classes), folder)


def test_a_fitting_checkpoint_becomes_safetensors(
    uploaded: Path, teachers: dict[str, TeacherFile], tmp_path: Path
) -> None:
    answer = checked(uploaded, tmp_path, teachers["gfl"].model, CLASSES)
    assert (answer.usable, answer.message, answer.undeclared) == (True, "", False)
    assert answer.sha256 == sha256_of(tmp_path / "teacher.safetensors")
    ours, theirs = load_file(tmp_path / "teacher.safetensors"), load_file(teachers["gfl"].weights)
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


def test_safetensors_are_known_by_their_content_as_uploads_have_no_suffix(
    teachers: dict[str, TeacherFile], tmp_path: Path
) -> None:
    sent = tmp_path / "0192"
    sent.write_bytes(teachers["atss"].weights.read_bytes())
    assert checked(sent, tmp_path, teachers["atss"].model, CLASSES).usable


@pytest.mark.parametrize("detector", list(DetectorName))
def test_an_undeclared_teacher_is_recognised_for_confirmation(
    detector: str, teachers: dict[str, TeacherFile], tmp_path: Path
) -> None:
    path = tmp_path / "a.pth"
    meta = {"dataset_meta": {"classes": CLASSES}}
    torch.save({"state_dict": load_file(teachers[detector].weights), "meta": meta}, path)
    answer = checked(path, tmp_path)
    assert (answer.usable, answer.undeclared) == (True, True)
    assert answer.recognised
    assert answer.recognised.class_names == CLASSES
    # The groups of a norm show in no tensor.
    assert answer.recognised.model == teachers[detector].model.model_copy(
        update={"norm_groups": 16}
    )
    assert sha256_of(tmp_path / "teacher.safetensors") == answer.sha256


def test_a_checkpoint_of_mmdetection_1_gives_the_same_file(
    teachers: dict[str, TeacherFile], tmp_path: Path
) -> None:
    weights = load_file(teachers["fcos"].weights)
    old = {f"module.{k.replace('head.conv_', 'head.fcos_')}": v for k, v in weights.items()}
    assert "module.bbox_head.fcos_centerness.bias" in old
    old |= {f"ema_{k.replace('.', '_')}": torch.zeros_like(v) for k, v in weights.items()}
    meta = {"mmdet_version": "1.0.0", "CLASSES": list(CLASSES)}
    torch.save(
        {"state_dict": old, "meta": meta},
        tmp_path / "old.pth",
        _use_new_zipfile_serialization=False,
    )
    answer = checked(tmp_path / "old.pth", tmp_path, teachers["fcos"].model, CLASSES)
    assert (answer.usable, answer.message) == (True, "")
    ours = load_file(tmp_path / "teacher.safetensors")
    assert all(torch.equal(ours[name], weights[name]) for name in weights)


def test_what_was_declared_is_compared_with_what_was_recognised(
    uploaded: Path, tmp_path: Path
) -> None:
    wrong = small_spec("atss", "resnet50")
    answer = checked(uploaded, tmp_path, wrong, ("one", "two"))
    assert not answer.usable
    for part in (
        "detector is declared as atss and looks like gfl",
        "backbone is declared as resnet50 and looks like resnet18",
        "classes is declared as 2 and looks like 10",
    ):
        assert part in answer.message
    assert answer.recognised
    assert answer.recognised.model
    assert not (tmp_path / "teacher.safetensors").exists()


def test_a_truncated_upload_is_no_teacher(
    uploaded: Path, teachers: dict[str, TeacherFile], tmp_path: Path
) -> None:
    uploaded.write_bytes(uploaded.read_bytes()[:1000])
    answer = checked(uploaded, tmp_path, teachers["gfl"].model, CLASSES)
    assert (answer.usable, answer.recognised) == (False, None)
    assert "truncated" in answer.message


def test_classes_in_another_order_than_the_checkpoints_are_refused(
    teachers: dict[str, TeacherFile], tmp_path: Path
) -> None:
    meta = {"CLASSES": CLASSES}
    torch.save({"state_dict": load_file(teachers["gfl"].weights), "meta": meta}, tmp_path / "a.pth")
    answer = checked(tmp_path / "a.pth", tmp_path, teachers["gfl"].model, CLASSES[::-1])
    assert "class 0 is 'zero' there and 'nine' here" in answer.message


def test_a_config_that_computes_otherwise_is_refused_though_the_tensors_fit(
    teachers: dict[str, TeacherFile], tmp_path: Path
) -> None:
    config = "model = dict(type='FCOS', bbox_head=dict(type='FCOSHead', norm_on_bbox=False))"
    content = {"state_dict": load_file(teachers["fcos"].weights), "meta": {"cfg": config}}
    torch.save(content, tmp_path / "a.pth")
    answer = checked(tmp_path / "a.pth", tmp_path, teachers["fcos"].model, CLASSES)
    assert not answer.usable
    assert "bbox_head.norm_on_bbox is False there and True here" in answer.message


def test_a_backbone_of_timm_is_named_by_the_declaration_or_the_config(tmp_path: Path) -> None:
    spec = small_spec("gfl", "timm/resnet10t")
    weights = {k: v.contiguous() for k, v in build_detector(spec, 10).state_dict().items()}
    old = {k.replace("backbone.net.", "backbone.timm_model."): v for k, v in weights.items()}
    config = "model = dict(backbone=dict(type='TIMMBackbone', model_name='resnet10t'))"
    for content, model, says in (
        (weights, spec, ""),
        ({"state_dict": old, "meta": {"cfg": config}}, None, ""),
        (weights, None, "a network of timm, whose name tensors do not tell: declare it"),
    ):
        torch.save(content, tmp_path / "a.pth")
        answer = checked(tmp_path / "a.pth", tmp_path, model)
        assert says in answer.message
        assert answer.usable is not bool(says)
        assert answer.recognised
        assert (answer.recognised.backbone == "timm/resnet10t") is not bool(says)


@pytest.mark.parametrize("usable", [True, False])
def test_the_command_answers_in_a_file(
    usable: bool,
    uploaded: Path,
    teachers: dict[str, TeacherFile],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    classes = CLASSES if usable else CLASSES[:3]
    declaration = Declaration(model=teachers["gfl"].model, classes=classes)
    (tmp_path / "declaration.json").write_text(declaration.model_dump_json())
    arguments = ["", str(uploaded), str(tmp_path / "declaration.json"), str(tmp_path)]
    monkeypatch.setattr(sys, "argv", arguments)
    assert main() == 0
    answer = json.loads((tmp_path / "check.json").read_bytes())
    assert answer["usable"] is usable
    assert bool(answer["message"]) is not usable
    assert answer["recognised"]["detector"] == "gfl"
