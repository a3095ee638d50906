from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from pgd_core.errors import TeacherUnusable, WeightsUnusable
from pgd_core.jobs.run import TeacherFile
from pgd_core.training.checkpoints import sha256_of
from pgd_core.training.teacher_check import Declaration, check_teacher, main
from tests.pgd_core.training.runs import CLASSES


@pytest.fixture
def uploaded(teachers: dict[str, TeacherFile], tmp_path: Path) -> Path:
    """An MMDetection checkpoint as a user has it."""
    path = tmp_path / "uploaded.pth"
    torch.save({"state_dict": load_file(teachers["gfl"].weights), "meta": {"epoch": 36}}, path)
    return path


def test_a_fitting_checkpoint_becomes_safetensors(
    uploaded: Path, teachers: dict[str, TeacherFile], tmp_path: Path
) -> None:
    declaration = Declaration(model=teachers["gfl"].model, classes=CLASSES)
    digest = check_teacher(uploaded, declaration, tmp_path)
    assert digest == sha256_of(tmp_path / "teacher.safetensors")
    ours, theirs = load_file(tmp_path / "teacher.safetensors"), load_file(teachers["gfl"].weights)
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


def test_another_number_of_classes_is_told_by_the_shapes(
    uploaded: Path, teachers: dict[str, TeacherFile], tmp_path: Path
) -> None:
    declaration = Declaration(model=teachers["gfl"].model, classes=("one", "two"))
    with pytest.raises(TeacherUnusable, match=r"\(10,\) instead of \(2,\)"):
        check_teacher(uploaded, declaration, tmp_path)
    assert not (tmp_path / "teacher.safetensors").exists()


def test_a_truncated_upload_is_no_teacher(
    uploaded: Path, teachers: dict[str, TeacherFile], tmp_path: Path
) -> None:
    uploaded.write_bytes(uploaded.read_bytes()[:1000])
    with pytest.raises(WeightsUnusable):
        check_teacher(uploaded, Declaration(model=teachers["gfl"].model, classes=CLASSES), tmp_path)


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
