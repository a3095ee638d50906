"""The trainer as the process that it is, for the tests of this folder."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pgd_core.jobs.run import RunSpec
from tests.pgd_core.training.runs import lines

ROOT = Path(__file__).parents[3]
ENVIRONMENT = {
    **os.environ,
    "OMP_NUM_THREADS": "1",
    "CUDA_VISIBLE_DEVICES": "",
    "PYTHONUNBUFFERED": "1",
    "TORCH_ELASTIC_SHUTDOWN_TIMEOUT": "600",  # a process that does not end shall fail the test
}
TWO_PROCESSES = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "-m")


def trainer(run: RunSpec | str, folder: Path, *launcher: str) -> list[str]:
    """The command line of an attempt."""
    folder.mkdir(parents=True, exist_ok=True)
    text = run if isinstance(run, str) else run.model_dump_json()
    (folder / "run.json").write_text(text)
    return [
        sys.executable,
        *(launcher or ("-m",)),
        "pgd_core.training",
        str(folder / "run.json"),
        str(folder),
    ]


def start(run: RunSpec, folder: Path, *launcher: str) -> subprocess.Popen[bytes]:
    """An attempt in a session of its own, as a worker starts it."""
    command = trainer(run, folder, *launcher)
    with (folder / "trainer.log").open("wb") as log:
        return subprocess.Popen(
            command, cwd=ROOT, env=ENVIRONMENT, stdout=log, stderr=log, start_new_session=True
        )


def outcome(folder: Path) -> dict[str, Any]:
    """What the trainer said last."""
    content: dict[str, Any] = json.loads((folder / "outcome.json").read_bytes())
    return content


def wait_until(
    condition: Callable[[], bool], process: subprocess.Popen[bytes], patience_s: float = 120
) -> None:
    """Wait for something that the process does while it lives."""
    deadline = time.monotonic() + patience_s
    while not condition():
        assert process.poll() is None, "the trainer ended early"
        assert time.monotonic() < deadline
        time.sleep(0.05)


def has_lines(folder: Path, kind: str) -> bool:
    """Whether progress of that type was made."""
    return (folder / "progress.jsonl").exists() and bool(lines(folder, kind))
