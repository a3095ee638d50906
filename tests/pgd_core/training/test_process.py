"""What the libraries' errors mean, in our words; with real processes where one is lost."""

from __future__ import annotations

import errno
import subprocess
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
from torch.utils.data import DataLoader, Dataset

from pgd_core.errors import DatasetUnusable, MachineUnusable, PgdError, ProcessLost
from pgd_core.jobs.run import DatasetFiles
from pgd_core.jobs.spec import InputSpec
from pgd_core.training import data
from pgd_core.training import process as trainer_process
from pgd_core.training.sampling import Pictures
from tests.pgd_core.training.processes import has_lines, outcome, start, wait_until
from tests.pgd_core.training.runs import INPUT, train_run


def test_a_loader_that_is_killed_ends_the_run_as_a_lost_worker(
    files: DatasetFiles, tmp_path: Path
) -> None:
    process = start(train_run(files, epochs=400, workers=2), tmp_path)
    wait_until(lambda: has_lines(tmp_path, "train"), process)
    processes = psutil.Process(process.pid).children(recursive=True)
    processes[0].kill()
    assert process.wait(60) == 1
    assert outcome(tmp_path)["reason"] == "worker_lost"
    assert "is memory short?" in outcome(tmp_path)["message"]
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


def test_a_loader_s_process_is_deaf_to_a_stop_signal_before_it_has_begun(
    files: DatasetFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin = data.worker_init_fn
    slowly = lambda *a, **o: (time.sleep(1), begin(*a, **o))  # noqa: E731
    monkeypatch.setattr(data, "worker_init_fn", slowly)
    before = set(psutil.Process().children())
    batches = iter(data.val_loader(files, InputSpec(**INPUT), batch_size=2, workers=1))
    [process] = set(psutil.Process().children()) - before
    time.sleep(0.3)
    subprocess.run(["kill", str(process.pid)], check=True)  # from us it would hear it

    assert len(next(batches)["inputs"]) == 2


class _Failing(Dataset[Any]):
    """One picture that cannot be read."""

    def __init__(self, folder: Path, error: OSError) -> None:
        self.data_prefix, self.error = {"img": str(folder)}, error

    def __len__(self) -> int:
        return 1

    def __getitem__(self, index: int) -> Any:
        raise self.error

    def get_data_info(self, _index: int) -> dict[str, str]:
        return {"img_path": "/data/a.jpg"}


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize(
    ("number", "others", "error"),
    [
        (errno.EIO, True, MachineUnusable),
        (errno.ENOENT, False, MachineUnusable),  # all are gone: their share went away
        (errno.ENOENT, True, DatasetUnusable),
    ],
)
def test_a_picture_that_cannot_be_read_may_be_the_machine_s_trouble(
    number: int,
    others: bool,
    error: type[PgdError],
    workers: int,
    files: DatasetFiles,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if others:
        (tmp_path / "b.jpg").touch()
    pictures = Pictures(_Failing(tmp_path, OSError(number, "no")))
    loader = DataLoader(pictures, num_workers=workers)
    monkeypatch.setattr(trainer_process, "run_job", lambda *_: list(loader))

    with pytest.raises(error, match=r"^picture /data/a.jpg cannot .*Error: "):
        trainer_process.run_in_process(train_run(files), tmp_path)


def test_a_run_that_begins_without_pictures_has_no_data_set(
    files: DatasetFiles, tmp_path: Path
) -> None:
    bare = tmp_path / "bare"
    bare.mkdir()
    without = files.model_copy(update={"train_images": bare})

    with pytest.raises(DatasetUnusable, match=f"no picture is left in {bare}"):
        data.with_prepared_annotations(without, tmp_path / "work")


def _wrapped() -> Exception:
    """As C++ code hands on what the signal's handler raised inside a hook of its own."""
    error = SystemError("<method 'run_backward'> returned a result with an exception set")
    error.__cause__ = RuntimeError("DataLoader worker (pid 12) is killed by signal: Killed. ")
    return error


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("DataLoader worker (pid(s) 12, 13) exited unexpectedly"),
        _wrapped(),
        ConnectionResetError(104, "Connection reset by peer"),
        EOFError(),
        OSError("got end of file during message"),
    ],
    ids=["told", "inside another", "its pipe was reset", "its pipe ended", "half a message"],
)
def test_the_loss_of_a_loader_is_known_however_it_shows(
    error: Exception, files: DatasetFiles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lost(*_: object) -> None:
        raise error

    monkeypatch.setattr(trainer_process, "run_job", lost)
    with pytest.raises(ProcessLost, match="is memory short"):
        trainer_process.run_in_process(train_run(files), tmp_path)
