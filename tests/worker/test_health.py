"""Signs of life, and the command that looks at them."""

from __future__ import annotations

import socket
import subprocess
import sys

import pytest

from worker import health
from worker.health import SignOfLife


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("PGD_DATA_FOLDER", str(tmp_path))
    return tmp_path


def test_a_process_is_well_once_it_gave_a_sign(folder, capsys):
    assert health.main(["worker"]) == 1
    SignOfLife(folder, "worker").give()

    assert health.main(["worker"]) == 0
    assert health.main(["reconciler"]) == 1
    assert "the reconciler has given no sign" in capsys.readouterr().out


@pytest.mark.parametrize("shift_s", [-61, 61])
def test_an_old_sign_and_one_of_the_future_are_none(folder, monkeypatch, shift_s):
    SignOfLife(folder, "reconciler").give()
    now = health.time.time()
    monkeypatch.setattr(health.time, "time", lambda: now + shift_s)

    assert health.main(["reconciler"]) == 1


def test_rounds_that_are_far_apart_are_waited_for(folder, monkeypatch):
    monkeypatch.setenv("PGD_RECONCILE_S", "100")
    SignOfLife(folder, "reconciler").give()
    now = health.time.time()
    monkeypatch.setattr(health.time, "time", lambda: now + 399)

    assert health.main(["reconciler"]) == 0


def test_machines_that_share_the_folder_have_signs_of_their_own(folder, monkeypatch):
    monkeypatch.setattr(socket, "gethostname", lambda: "other")
    SignOfLife(folder, "worker").give()
    monkeypatch.setattr(socket, "gethostname", lambda: "mine")

    assert health.main(["worker"]) == 1


def test_a_sign_that_cannot_be_read_is_none(folder):
    SignOfLife(folder, "worker").give()
    [sign] = (folder / "signs").iterdir()
    sign.write_text("")

    assert health.main(["worker"]) == 1


@pytest.mark.parametrize("arguments", [[], ["api"], ["worker", "reconciler"]])
def test_the_command_says_how_it_is_used(arguments, capsys):
    assert health.main(arguments) == 2
    assert "usage" in capsys.readouterr().err


GIVE_MANY = """
import pathlib, sys
from worker.health import SignOfLife
for _ in range(500):
    SignOfLife(pathlib.Path(sys.argv[1]), "worker").give()
"""


def test_several_workers_of_a_machine_give_signs_at_once(folder):
    command = [sys.executable, "-c", GIVE_MANY, str(folder)]
    workers = [subprocess.Popen(command) for _ in range(3)]

    assert [worker.wait() for worker in workers] == [0, 0, 0]
    assert health.main(["worker"]) == 0
    assert [path.name for path in (folder / "signs").iterdir()] == [
        f"worker-{socket.gethostname()}"
    ]
