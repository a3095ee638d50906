from __future__ import annotations

from pathlib import Path

import pytest
from torch import nn

from pgd_core.training.best import FINISHED, WEIGHTS, Best, _bring


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
