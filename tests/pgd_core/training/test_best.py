from __future__ import annotations

from pathlib import Path

import pytest
from torch import nn

from pgd_core.training.best import FINISHED, WEIGHTS, Best, _bring, finished_before


def best_of(folder: Path, *average_precisions: float | None) -> object:
    """The step whose weights are kept after these validations."""
    best = Best(folder, "", keep=True)
    for step, ap in enumerate(average_precisions, 1):
        best.see(nn.Linear(1, 1), step, {"AP": ap})
    return best.record["step"]


def test_the_earliest_of_the_best_is_kept(tmp_path: Path) -> None:
    assert best_of(tmp_path, 1.0, 3.0, 3.0, 2.0) == 2


def test_without_objects_to_find_the_last_is_kept_for_there_is_no_best(tmp_path: Path) -> None:
    assert best_of(tmp_path, None, None, None) == 3


def test_a_copy_that_was_cut_short_is_not_taken_for_a_finished_run(tmp_path: Path) -> None:
    earlier, folder = tmp_path / "1", tmp_path / "2"
    earlier.mkdir()
    (earlier / FINISHED).write_text("{}")
    with pytest.raises(FileNotFoundError):
        _bring(earlier, folder, WEIGHTS, FINISHED)
    assert not list(folder.iterdir())


def test_weights_that_are_not_the_ones_on_record_are_measured_again(tmp_path: Path) -> None:
    """The process was killed between the two files, or the disk has flipped a bit."""
    earlier, model = tmp_path / "1", nn.Linear(1, 1)
    kept = Best(earlier, "run", keep=True)
    for step in (3, 6):
        kept.see(model, step, {"AP": 1.0})
    resumed = Best(tmp_path / "2", "run", keep=True)
    resumed.recall([earlier], 6)
    assert resumed.saw(6)
    assert resumed.record["step"] == 3
    content = bytearray((earlier / WEIGHTS).read_bytes())
    content[-1] ^= 1
    (earlier / WEIGHTS).write_bytes(content)
    resumed.recall([earlier], 6)
    assert not resumed.saw(6)
    resumed.see(model, 6, {"AP": 0.5})
    assert resumed.record["step"] == 6
    assert [entry["step"] for entry in resumed.finish()["history"]] == [3, 6]


def test_a_finished_run_of_another_job_or_with_damaged_weights_is_none(tmp_path: Path) -> None:
    best = Best(tmp_path, "run", keep=True)
    best.see(nn.Linear(1, 1), 1, {"AP": 1.0})
    done = best.finish()
    assert finished_before([tmp_path], tmp_path, "run") == done
    assert finished_before([tmp_path], tmp_path, "another run") is None
    (tmp_path / WEIGHTS).write_bytes(b"")
    assert finished_before([tmp_path], tmp_path, "run") is None
