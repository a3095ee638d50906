"""A disk that is really full, and the run that goes on when it no longer is."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from pgd_core.jobs.run import NO_ROOM_EXIT, DatasetFiles, RunSpec
from pgd_core.training.job import run_job
from tests.pgd_core.training.full_disk import need_small_disks, train_on_small_disk, used_bytes
from tests.pgd_core.training.processes import outcome
from tests.pgd_core.training.runs import lines, losses, train_run

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def _small_disks(tmp_path: Path) -> None:
    need_small_disks(tmp_path)


def resume(run: RunSpec, tmp_path: Path) -> Path:
    """The next attempt, with room."""
    second = run.model_copy(update={"earlier_attempts": (tmp_path / "first",)})
    run_job(second, tmp_path / "second")
    return tmp_path / "second"


def ends_like(whole: Path, resumed: Path) -> bool:
    ends = [load_file(f / "outputs" / "detector.safetensors") for f in (whole, resumed)]
    return all(torch.equal(ends[0][name], ends[1][name]) for name in ends[0])


def nothing_half_written(folder: Path) -> bool:
    hidden = [path for path in folder.rglob(".*") if path.is_file()]
    announced = {note.stem for note in folder.rglob("step_*.json")}
    return not hidden and announced == {path.stem for path in folder.rglob("step_*.pth")}


def test_a_checkpoint_without_room_costs_nothing_but_the_steps_since_the_one_before(
    files: DatasetFiles, tmp_path: Path
) -> None:
    run, first = train_run(files), tmp_path / "first"
    run_job(run, tmp_path / "whole")
    checkpoint = next((tmp_path / "whole" / "work" / "detector").glob("step_*.pth"))
    size = used_bytes(tmp_path / "whole" / "work") - checkpoint.stat().st_size // 2
    assert train_on_small_disk(run, first, size) == 1
    told = outcome(first)
    assert told["reason"] == "disk_full"
    assert f"{first}_disk is full" in told["message"]
    assert "step_000000006.pth" in told["message"]
    assert nothing_half_written(first)
    resumed = resume(run, tmp_path)
    whole = losses(tmp_path / "whole", "detector")
    assert losses(resumed, "detector") == {s: terms for s, terms in whole.items() if s > 3}
    assert ends_like(tmp_path / "whole", resumed)


def test_progress_without_room_ends_the_run_with_a_code_of_its_own(
    files: DatasetFiles, tmp_path: Path
) -> None:
    run, first = train_run(files, epochs=30, validation_interval=15), tmp_path / "first"
    run_job(run, tmp_path / "whole")
    size = used_bytes(tmp_path / "whole") * 2
    assert train_on_small_disk(run, first, size, fill_after_lines=3) == NO_ROOM_EXIT
    assert not (first / "outcome.json").exists()
    assert len(losses(first, "detector")) < 45  # every line is whole; the 45th follows a checkpoint
    assert nothing_half_written(first)
    resumed = resume(run, tmp_path)
    assert losses(resumed, "detector") == losses(tmp_path / "whole", "detector")
    assert ends_like(tmp_path / "whole", resumed)


def test_outputs_without_room_are_published_from_the_finished_training(
    files: DatasetFiles, tmp_path: Path
) -> None:
    run, first = train_run(files, epochs=1), tmp_path / "first"
    run_job(run, tmp_path / "whole")
    outputs = used_bytes(tmp_path / "whole" / "outputs")
    size = used_bytes(tmp_path / "whole" / "work") + outputs // 2
    assert train_on_small_disk(run, first, size) == 1
    assert outcome(first)["reason"] == "disk_full"
    assert not (first / "outputs").exists()
    assert nothing_half_written(first)
    resumed = resume(run, tmp_path)
    assert not lines(resumed, "train")
    assert ends_like(tmp_path / "whole", resumed)
