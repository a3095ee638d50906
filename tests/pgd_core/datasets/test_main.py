from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from pgd_core.datasets.__main__ import main
from pgd_core.datasets.coco import DatasetReport


def _check(folder: Path, report: Path) -> subprocess.CompletedProcess[str]:
    parts = [str(folder / part) for part in ("train.json", "train", "val.json", "val")]
    command = [sys.executable, "-m", "pgd_core.datasets", "check", *parts, "--report", str(report)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def test_the_digits_command_writes_what_the_check_command_calls_usable(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["digits", str(tmp_path), "--images", "9", "--val-images", "6"]) == 0
    assert capsys.readouterr().out.splitlines()[0] == str(tmp_path / "train.json")
    report_path = tmp_path / "report.json"
    done = _check(tmp_path, report_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.endswith("\nusable\n")
    report = DatasetReport.model_validate_json(report_path.read_text())
    assert report.usable
    assert report.train.images == 9
    assert not list(tmp_path.glob("*.unfinished"))


def test_an_unusable_data_set_ends_with_1_and_a_report(tmp_path: Path) -> None:
    (tmp_path / "train.json").write_text('{"images": [], "categories": [{"name": "\\ud800"}]}')
    done = _check(tmp_path, tmp_path / "report.json")
    assert (done.returncode, done.stderr) == (1, "")
    report = json.loads((tmp_path / "report.json").read_text())
    assert not report["usable"]
    assert {"wrong_shape", "file_unreadable"} <= {each["code"] for each in report["errors"]}


def test_a_report_without_a_folder_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["check", *"abcd", "--report", str(tmp_path / "gone" / "report.json")]) == 2
    assert "create it first" in capsys.readouterr().err


def test_an_impossible_digit_request_ends_with_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["digits", str(tmp_path), "--images", "0"]) == 2
    assert "images = 0" in capsys.readouterr().err


def test_checking_needs_neither_numpy_nor_torch() -> None:
    code = "import sys, pgd_core.datasets.__main__; print({'numpy', 'torch'} & set(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout == "set()\n"


def test_a_check_writes_the_share_that_is_done(tmp_path: Path) -> None:
    assert main(["digits", str(tmp_path / "d"), "--images", "2", "--val-images", "1"]) == 0
    parts = [str(tmp_path / "d" / name) for name in ("train.json", "train", "val.json", "val")]
    limits = ["--memory-gb", "0", "--progress", str(tmp_path / "done")]
    command = [sys.executable, "-m", "pgd_core.datasets", "check", *parts, *limits]

    subprocess.run(command, capture_output=True, timeout=60, check=True)

    assert json.loads((tmp_path / "done").read_text()) == 1.0
