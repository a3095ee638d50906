from __future__ import annotations

from pathlib import Path

import pytest

from pgd_core.training import progress
from pgd_core.training.progress import Reporter
from tests.pgd_core.training.runs import lines


def test_the_time_left_does_not_count_what_came_before_the_first_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    reporter = Reporter(tmp_path / "progress.jsonl", total_steps=11, _started=0.0)
    now[0] = 1000.0  # of evaluating the teacher
    reporter.begin_variant(0)
    now[0] = 1002.0
    reporter.training("plain", 1, learning_rate=0.1, images_per_s=1.0)
    assert lines(tmp_path, "train")[0]["eta_s"] == 20.0


def test_a_validation_on_crowdhuman_tells_all_three_numbers(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    reporter = Reporter(tmp_path / "progress.jsonl")
    reporter.validation("plain", 1, metrics={"AP": 88.04, "MR": 46.0, "JI": None})
    reporter.validation("plain", 1, metrics={"AP": None, "AP50": None})
    told = [line.split(": ", 1)[1] for line in capsys.readouterr().out.splitlines()]
    assert told == ["AP 88.0, MR 46.0, JI –", "AP –"]
