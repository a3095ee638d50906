"""What the libraries' errors mean, in our words; with real processes where one is lost."""

from __future__ import annotations

from pathlib import Path

import psutil

from pgd_core.jobs.run import DatasetFiles
from tests.pgd_core.training.processes import has_lines, outcome, start, wait_until
from tests.pgd_core.training.runs import train_run


def test_a_loader_that_is_killed_ends_the_run_as_a_lost_worker(
    files: DatasetFiles, tmp_path: Path
) -> None:
    process = start(train_run(files, epochs=400, workers=2), tmp_path)
    wait_until(lambda: has_lines(tmp_path, "train"), process)
    processes = psutil.Process(process.pid).children(recursive=True)
    processes[0].kill()
    assert process.wait(60) == 1
    assert outcome(tmp_path)["reason"] == "worker_lost"
    assert "is memory short? (DataLoader worker" in outcome(tmp_path)["message"]
    _, left = psutil.wait_procs(processes, timeout=30)
    assert not left


def test_a_stop_signal_to_the_whole_group_leaves_the_loaders_to_the_last_step(
    files: DatasetFiles, tmp_path: Path
) -> None:
    process = start(train_run(files, epochs=400, workers=2), tmp_path)
    wait_until(lambda: has_lines(tmp_path, "train"), process)
    processes = psutil.Process(process.pid).children(recursive=True)
    for each in (*processes, psutil.Process(process.pid)):
        each.terminate()
    assert process.wait(60) == 3
    assert outcome(tmp_path)["reason"] == "stopped"
    _, left = psutil.wait_procs(processes, timeout=30)
    assert not left
