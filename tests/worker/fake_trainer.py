"""Stands in for `python -m pgd_core.training`: what it does is the name of its job."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

FOLDER = Path(sys.argv[2])
RUN = json.loads(Path(sys.argv[1]).read_text())
AT = "2026-01-01T00:00:00Z"


def report(iteration: int) -> None:
    line = {"type": "train", "at": AT, "iteration": iteration, "losses": {"cls": 0.5}}
    with (FOLDER / "progress.jsonl").open("a") as file:
        file.write(json.dumps(line) + "\n")


def end(status: str, reason: str, message: str = "", **result: float) -> None:
    outcome = {"status": status, "reason": reason, "message": message, "result": result}
    unfinished = FOLDER / "outcome.tmp"
    unfinished.write_text(json.dumps(outcome))
    unfinished.rename(FOLDER / "outcome.json")
    sys.exit(0 if status == "succeeded" else 3)


def succeed() -> None:
    report(1)
    (FOLDER / "work").mkdir()
    (FOLDER / "work" / "checkpoint").write_text("state")
    outputs = FOLDER / "outputs"
    (outputs / "folder").mkdir(parents=True)
    (outputs / "student.pth").write_bytes(b"weights")
    (outputs / "metrics.json").write_text("{}")
    report(2)
    end("succeeded", "completed", AP=0.5)


def run_out_of_memory() -> None:
    end("failed", "out_of_memory", "CUDA out of memory")


def lose_data() -> None:
    """As where the data set's share goes away."""
    Path(RUN["dataset"]["train_annotations"]).unlink()
    end("failed", "bad_dataset", "picture 7 is gone")


def tell_environment() -> None:
    (FOLDER / "outputs").mkdir()
    (FOLDER / "outputs" / "environment.json").write_text(json.dumps(dict(os.environ)))
    end("succeeded", "completed")


def tell_rank() -> None:
    """Under torchrun: every process says who it is, and the first ends the job."""
    outputs = FOLDER / "outputs"
    outputs.mkdir(exist_ok=True)
    told = {name: os.environ[name] for name in ("RANK", "WORLD_SIZE", "VISIBLE", "PGD_TRAINER")}
    (outputs / f"rank-{told['RANK']}.json").write_text(json.dumps(told))
    if told["RANK"] == "0":
        while len(list(outputs.iterdir())) < int(told["WORLD_SIZE"]):
            time.sleep(0.01)
        end("succeeded", "completed")


def crash() -> None:
    report(1)
    raise RuntimeError("something is wrong inside")


def diverge() -> None:
    report(1)
    end("failed", "diverged", "loss_cls is nan at iteration 1")


def gpu_gone() -> None:
    end("failed", "worker_trouble", "torch sees no GPU")


def gpu_breaks() -> None:
    end("failed", "gpu_fault", "CUDA error: unspecified launch failure")


def killed() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def gentle() -> None:
    """Runs until asked to stop, then leaves a checkpoint."""
    report(1)
    while not (FOLDER / "stop").exists():
        time.sleep(0.01)
    (FOLDER / "work").mkdir()
    (FOLDER / "work" / "checkpoint").write_text("state")
    end("stopped", "stopped")


def gentle_by_signal() -> None:
    """Runs until a signal asks it to stop, without a look at the file."""
    asked = []
    signal.signal(signal.SIGTERM, lambda *_: asked.append(True))
    report(1)
    while not asked:
        time.sleep(0.01)
    end("stopped", "stopped")


def gentle_once() -> None:
    """Stops gently the first time; succeeds when it finds that checkpoint."""
    if any((Path(folder) / "work" / "checkpoint").exists() for folder in RUN["earlier_attempts"]):
        succeed()
    gentle()


def slow_but_alive() -> None:
    """Takes longer than the test's patience with one that shows no life."""
    for _ in range(150):
        (FOLDER / "alive").touch()
        time.sleep(0.01)
    succeed()


def stubborn() -> None:
    """Ignores SIGTERM, as do its children, one of which left its session and parent."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    sleeper = "import signal, time; signal.signal(15, signal.SIG_IGN); time.sleep(600)"
    subprocess.Popen([sys.executable, "-c", sleeper])
    subprocess.Popen(["setsid", "--fork", sys.executable, "-c", sleeper])
    report(1)
    time.sleep(600)


def leave_child_behind() -> None:
    subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    succeed()


if __name__ == "__main__":
    if RUN["job"]["name"] == "gentle":
        signal.signal(signal.SIGTERM, lambda *_: None)
    if RUN["job"]["name"] == "gentle_once":
        signal.signal(signal.SIGTERM, lambda *_: None)
    globals()[RUN["job"]["name"]]()
