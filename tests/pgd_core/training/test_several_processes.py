"""Processes of one run under torchrun: stopped together, lost together, resumed by fewer."""

from __future__ import annotations

import signal
import subprocess
from pathlib import Path
from typing import Any

import psutil
import pytest

from pgd_core.jobs.run import DatasetFiles, RunSpec, TeacherFile
from pgd_core.training.job import run_job
from tests.pgd_core.detectors.batches import small_spec
from tests.pgd_core.training.processes import (
    TWO_PROCESSES,
    has_lines,
    outcome,
    start,
    wait_until,
)
from tests.pgd_core.training.runs import INPUT, digit_files, lines, losses, train_run

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> DatasetFiles:
    """An odd number of validation pictures that takes a while."""
    return digit_files(tmp_path_factory.mktemp("many"), val_images=301)


def family(process: subprocess.Popen[bytes]) -> dict[str, psutil.Process]:
    """torchrun's processes by their rank, and the loaders' behind them."""
    found = {}
    for rank in psutil.Process(process.pid).children():
        name = rank.environ()["RANK"]
        found[name] = rank
        for loader in rank.children(recursive=True):
            found[f"{name}/{loader.pid}"] = loader
    return found


def alive(processes: dict[str, psutil.Process]) -> list[str]:
    return [name for name, process in processes.items() if process.is_running()]


def ask(how: str, process: subprocess.Popen[bytes], folder: Path) -> None:
    if how == "file":
        (folder / "stop").touch()
    else:
        process.send_signal(signal.SIGTERM)


def has_checkpoint(folder: Path) -> bool:
    return any((folder / "work" / "detector").glob("step_*.json"))


@pytest.mark.parametrize("how", ["file", "signal"])
def test_all_stop_during_a_validation_and_fewer_go_on_with_the_same_schedule(
    how: str, many: DatasetFiles, tmp_path: Path
) -> None:
    """torchrun passes the signal on to the loaders too, which the step still needs."""
    model = small_spec("fcos", "mobilenet_v2", width=0.25, freeze_batch_norm=True)
    run = train_run(many, model, workers=1)
    first = tmp_path / "first"
    process = start(run, first, *TWO_PROCESSES)
    wait_until(lambda: has_checkpoint(first), process)
    processes = family(process)
    ask(how, process, first)
    process.wait(60)
    assert not alive(processes)
    assert outcome(first)["reason"] == "stopped"
    assert not lines(first, "validation")
    second = run.model_copy(update={"earlier_attempts": (first,)})
    run_job(second, tmp_path / "second")
    run_job(run, tmp_path / "whole")
    (training,) = (line["message"] for line in lines(tmp_path / "second", "stage")[:1])
    assert training == "training, from step 3 of 6, resumed from a checkpoint of attempt first"
    whole, resumed = (losses(tmp_path / name, "detector") for name in ("whole", "second"))
    assert min(resumed) == 4
    for step, terms in resumed.items():
        assert terms == pytest.approx(whole[step], rel=1e-3)


def test_all_stop_while_a_teacher_is_evaluated(
    many: DatasetFiles, teachers: dict[str, TeacherFile], tmp_path: Path
) -> None:
    job = {"kind": "evaluate", "dataset": "d", "teacher": "t", "input": INPUT, "workers": 1}
    content: dict[str, Any] = {
        "job": job,
        "dataset": many.model_dump(),
        "teacher": teachers["fcos"].model_dump(),
        "device": "cpu",
    }
    process = start(RunSpec.model_validate(content), tmp_path, *TWO_PROCESSES)
    wait_until(lambda: has_lines(tmp_path, "stage"), process)
    wait_until(lambda: len(lines(tmp_path, "stage")) == 2, process)
    assert lines(tmp_path, "stage")[1]["message"] == "evaluating the teacher"
    ask("file", process, tmp_path)
    process.wait(60)
    assert outcome(tmp_path)["reason"] == "stopped"
    assert not lines(tmp_path, "validation")


@pytest.mark.parametrize("killed", ["0", "1"])
def test_a_process_that_is_killed_ends_all_as_a_lost_worker(
    killed: str, files: DatasetFiles, tmp_path: Path
) -> None:
    process = start(train_run(files, epochs=400, workers=1), tmp_path, *TWO_PROCESSES)
    wait_until(lambda: has_lines(tmp_path, "train"), process)
    processes = family(process)
    processes[killed].kill()
    assert process.wait(60) == 1
    assert outcome(tmp_path)["reason"] == "worker_lost"
    assert "another process of this run was lost" in outcome(tmp_path)["message"]
    _, left = psutil.wait_procs(processes.values(), timeout=30)  # loaders look for their trainer
    assert not left


def test_a_batch_that_the_new_number_of_processes_cannot_share_is_refused(
    files: DatasetFiles, tmp_path: Path
) -> None:
    three = (*TWO_PROCESSES[:3], "--nproc-per-node=3", "-m")
    process = start(train_run(files), tmp_path, *three)
    assert process.wait(120) == 1
    assert outcome(tmp_path)["reason"] == "invalid_spec"
    assert "batch_size 4 cannot be shared by 3 processes" in outcome(tmp_path)["message"]
