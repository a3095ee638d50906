from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from pgd_core.jobs.run import TeacherFile
from pgd_core.training.teacher_check import Declaration, check_teacher
from tests.pgd_core.training.hostile_checkpoints import CASES, Case

ACTS = ("os.system", "os.exec", "os.posix_spawn", "os.fork", "subprocess.Popen", "socket.connect")
CHANGES = ("os.remove", "os.rename", "os.mkdir", "os.rmdir", "os.link", "os.symlink", "os.chmod")


class Witness:
    """Hears of each program started, connection made and file opened to be written."""

    def __init__(self) -> None:
        self.listening, self.heard = False, list[str]()
        sys.addaudithook(self._hear)  # there is no taking it away

    def _hear(self, event: str, arguments: tuple[Any, ...]) -> None:
        if not self.listening:
            return
        writes = event == "open" and arguments[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
        if writes or event in ACTS or event in CHANGES:
            self.heard.append(f"{event} {arguments!r}")


@pytest.fixture(scope="session")
def witness() -> Witness:
    return Witness()


@pytest.fixture
def heard(witness: Witness) -> Iterator[list[str]]:
    witness.heard.clear()
    yield witness.heard
    witness.listening = False


def snapshot(folder: Path) -> dict[str, tuple[int, int, int]]:
    """(mode, size, time of change) of all that lies below it."""
    found = {}
    for path in folder.rglob("*"):
        status = path.lstat()
        found[str(path)] = (status.st_mode, status.st_size, status.st_mtime_ns)
    return found


DIRECT = {name: case for name, case in CASES.items() if not case.confined}


@pytest.mark.parametrize("case", DIRECT.values(), ids=DIRECT)
@pytest.mark.filterwarnings("ignore::UserWarning")  # torch's, of what the corpus writes
def test_a_hostile_checkpoint_is_refused_without_effect(
    case: Case, witness: Witness, heard: list[str], tmp_path: Path
) -> None:
    scratch = tmp_path / "deep" / "below" / "scratch"
    scratch.mkdir(parents=True)
    file, canary = tmp_path / "deep" / "sent", tmp_path / "canary"
    case.write(file, canary)
    before, modules = snapshot(tmp_path), set(sys.modules)
    witness.listening = True
    answer = check_teacher(file, Declaration(), scratch)
    witness.listening = False
    assert not answer.usable
    assert re.search(case.says, answer.message)
    assert re.search("send|save", answer.message), "the message names a way out"
    assert heard == []
    assert snapshot(tmp_path) == before
    assert not {"antigravity", "this"} & (set(sys.modules) - modules)


def test_the_witness_would_have_heard(witness: Witness, heard: list[str], tmp_path: Path) -> None:
    witness.listening = True
    (tmp_path / "canary").touch()
    os.system("true")
    witness.listening = False
    assert len(heard) == 2


def test_weights_that_are_not_finite_teach_nothing(
    teachers: dict[str, TeacherFile], tmp_path: Path
) -> None:
    weights = load_file(teachers["gfl"].weights)
    weights["bbox_head.gfl_cls.bias"][3] = torch.inf
    save_file(weights, tmp_path / "sent")
    answer = check_teacher(tmp_path / "sent", Declaration(), tmp_path)
    assert "NaN or infinity in bbox_head.gfl_cls.bias" in answer.message
    assert not (tmp_path / "teacher.safetensors").exists()
