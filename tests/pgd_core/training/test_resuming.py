"""Whole jobs that go on from what earlier attempts left, harmed or not."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from pgd_core.errors import StoppedBySignal
from pgd_core.jobs.run import DatasetFiles, RunSpec
from pgd_core.training.job import run_job
from pgd_core.training.stopping import StopRequest
from tests.pgd_core.training.processes import start, wait_until
from tests.pgd_core.training.runs import lines, losses, train_run

HARM: dict[str, Callable[[Path], object]] = {
    "truncated": lambda path: path.write_bytes(path.read_bytes()[:-50]),
    "flipped": lambda path: path.write_bytes(b"\x01" + path.read_bytes()[1:]),
    "empty": lambda path: path.write_bytes(b""),
    "announcement": lambda path: path.with_suffix(".json").write_text("{"),
}


def stop_after(step: int, run: RunSpec, folder: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(StopRequest, "agreed", lambda _: bool(losses_or_none(folder).get(step)))
        with pytest.raises(StoppedBySignal):
            run_job(run, folder)


def losses_or_none(folder: Path) -> dict[int, dict[str, float]]:
    return losses(folder, "detector") if (folder / "progress.jsonl").exists() else {}


def after(run: RunSpec, *attempts: Path) -> RunSpec:
    """The next attempt; the newest of the earlier ones first."""
    return run.model_copy(update={"earlier_attempts": attempts})


def checkpoint(folder: Path, step: int) -> Path:
    return folder / "work" / "detector" / f"step_{step:09d}.pth"


def told(folder: Path) -> list[str]:
    return [line["message"] for line in lines(folder, "stage")]


def same_from(step: int, resumed: Path, whole: Path) -> bool:
    expected = {s: terms for s, terms in losses(whole, "detector").items() if s > step}
    return losses(resumed, "detector") == expected


@pytest.fixture(scope="module")
def whole(files: DatasetFiles, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole")
    run_job(train_run(files), folder)
    return folder


@pytest.fixture(scope="module")
def stopped(files: DatasetFiles, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Attempt 1, with checkpoints after the third step and the fifth."""
    folder = tmp_path_factory.mktemp("attempts") / "1"
    stop_after(5, train_run(files), folder)
    return folder


@pytest.mark.parametrize("harm", HARM)
def test_a_damaged_checkpoint_is_told_and_the_one_before_goes_on_to_the_same_curve(
    harm: str, files: DatasetFiles, whole: Path, stopped: Path, tmp_path: Path
) -> None:
    first, second = tmp_path / "1", tmp_path / "2"
    shutil.copytree(stopped, first)
    HARM[harm](checkpoint(first, 5))
    run_job(after(train_run(files), first), second)
    assert told(second)[:2] == [
        "checkpoint step_000000005.pth of attempt 1 is damaged, using step 3",
        "training, from step 3 of 6, resumed from a checkpoint of attempt 1",
    ]
    assert same_from(3, second, whole)


def test_without_a_whole_checkpoint_it_starts_again(
    files: DatasetFiles, whole: Path, stopped: Path, tmp_path: Path
) -> None:
    first, second = tmp_path / "1", tmp_path / "2"
    shutil.copytree(stopped, first)
    for step in (3, 5):
        HARM["empty"](checkpoint(first, step))
    run_job(after(train_run(files), first), second)
    assert "using step 0" in told(second)[1]
    assert told(second)[2] == "training, from step 0 of 6"
    assert same_from(0, second, whole)


def test_the_newest_whole_one_of_several_attempts_is_taken(
    files: DatasetFiles, whole: Path, stopped: Path, tmp_path: Path
) -> None:
    """Attempt 2 had gone on from a copy of attempt 1 that was damaged, and not got as far."""
    first, second, third = (tmp_path / str(n) for n in (1, 2, 3))
    shutil.copytree(stopped, first)
    content = checkpoint(first, 5).read_bytes()
    HARM["flipped"](checkpoint(first, 5))
    stop_after(4, after(train_run(files), first), second)
    run_job(after(train_run(files), second, first), third)
    assert told(third)[1] == "training, from step 4 of 6, resumed from a checkpoint of attempt 2"
    assert same_from(4, third, whole)
    checkpoint(first, 5).write_bytes(content)
    run_job(after(train_run(files), second, first), tmp_path / "4")
    assert same_from(5, tmp_path / "4", whole)


def test_checkpoints_of_another_spec_are_passed_over(
    files: DatasetFiles, stopped: Path, tmp_path: Path
) -> None:
    run = train_run(files, seed=7)
    run_job(run, tmp_path / "whole")
    run_job(after(run, stopped), tmp_path / "second")
    assert told(tmp_path / "second")[0].endswith("of attempt 1 is of another job, using step 0")
    assert same_from(0, tmp_path / "second", tmp_path / "whole")


@pytest.mark.slow
def test_a_trainer_killed_while_it_writes_a_checkpoint_is_resumed_from_the_one_before(
    files: DatasetFiles, tmp_path: Path
) -> None:
    run = train_run(files, epochs=20, validation_interval=0.34)  # a checkpoint after every step
    first = tmp_path / "1"
    process = start(run, first)
    wait_until(lambda: checkpoint(first, 2).with_suffix(".json").exists(), process)
    wait_until(lambda: any(first.rglob(".step_*.tmp")), process)
    process.kill()
    process.wait()
    run_job(run, tmp_path / "whole")
    run_job(after(run, first), tmp_path / "2")
    made = min(losses(tmp_path / "2", "detector")) - 1
    assert made >= 2
    assert f"from step {made} of 60" in told(tmp_path / "2")[0]
    assert same_from(made, tmp_path / "2", tmp_path / "whole")
