"""Stands in for `python -m pgd_core.training`: the same contract, without torch.

Its job's name is its plan ("steps=20 step_s=0.05"). What it makes is a chain of hashes over its
steps, so a step left out, done twice or resumed from a damaged checkpoint makes another result. It
notes in a ledger what it did, and whether another attempt of its job was at work at the same time.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tests.end_to_end.faults.gates import FOLDER as FAULTS_FOLDER
from tests.end_to_end.faults.gates import wait_at

KEPT = 2
NO_ROOM_EXIT = 4
_DEAF = "import signal, time; signal.signal(15, signal.SIG_IGN); time.sleep(600)"


@dataclass(frozen=True)
class Plan:
    """What a job is to do; written as its name."""

    steps: int = 20
    step_s: float = 0.01
    every: int = 5  # steps from one validation, and so checkpoint, to the next
    gate_at: int = 8  # the step at which it passes the gate "step"
    checkpoint_kb: int = 1
    outputs_kb: int = 1
    deaf: int = 0  # 1: to SIGTERM and the stop file, and so are its children
    tag: int = 0  # makes jobs differ

    def __str__(self) -> str:
        default = Plan()
        named = ((f.name, getattr(self, f.name)) for f in fields(self))
        return " ".join(f"{n}={v}" for n, v in named if v != getattr(default, n)) or "steps=20"

    @classmethod
    def of(cls, text: str) -> Plan:
        kinds = {f.name: type(getattr(cls(), f.name)) for f in fields(cls)}
        words = (word.partition("=") for word in text.split())
        return cls(**{name: kinds[name](value) for name, _, value in words})


def chain(plan: Plan, steps: int) -> str:
    """The hash after so many steps."""
    value = hashlib.sha256(str(plan.tag).encode()).hexdigest()
    for step in range(1, steps + 1):
        value = link(value, step)
    return value


def link(before: str, step: int) -> str:
    return hashlib.sha256(f"{before} {step}".encode()).hexdigest()


class Trainer:
    """One attempt."""

    def __init__(self, run: dict[str, Any], folder: Path) -> None:
        self.folder, self.run = folder, run
        self.plan = Plan.of(run["job"]["name"])
        self.job, self.attempt = folder.parent.name, int(folder.name)
        self.signalled = False
        self.loader = 0

    def main(self) -> None:
        signal.signal(signal.SIGTERM, self._asked)
        with self._alone():
            self._start_loader()
            wait_at("start")
            step, value = self._resume()
            self._tell("stage", message=f"training, from step {step}", step=step)
            self._train(step, value)

    def _train(self, step: int, value: str) -> None:
        plan = self.plan
        while step < plan.steps:
            time.sleep(plan.step_s)
            step += 1
            value = link(value, step)
            self._tell("train", step=step)
            self._look_after_loader()
            if step == plan.gate_at:
                wait_at("step")
            if step % plan.every == 0:
                self._checkpoint(step, value)
            if self._is_to_stop():
                self._checkpoint(step, value)
                self._end("stopped", "stopped")
        self._write_outputs(value)
        self._end("succeeded", "completed", chain=value)

    # Checkpoints: written beside, renamed, announced with their checksum

    def _checkpoint(self, step: int, value: str) -> None:
        work = self.folder / "work"
        work.mkdir(exist_ok=True)
        path = work / f"step_{step:09d}.pth"
        state = {"step": step, "chain": value, "weights": "0" * (1024 * self.plan.checkpoint_kb)}
        content = json.dumps(state)
        tmp = work / f".{path.name}.tmp"
        try:
            with tmp.open("w") as file:
                file.write(content[: len(content) // 2])
                file.flush()
                wait_at("checkpoint")
                file.write(content[len(content) // 2 :])
                file.flush()
                os.fsync(file.fileno())
            tmp.replace(path)
            note = {"step": step, "sha256": hashlib.sha256(content.encode()).hexdigest()}
            tmp.write_text(json.dumps(note))
            tmp.replace(path.with_suffix(".json"))
        except OSError:
            tmp.unlink(missing_ok=True)
            raise
        self._note("checkpoint", step)
        for old in sorted(work.glob("step_*.json"))[:-KEPT]:
            old.unlink()
            old.with_suffix(".pth").unlink()

    def _resume(self) -> tuple[int, str]:
        folders = [self.folder, *map(Path, self.run["earlier_attempts"])]
        notes = [note for folder in folders for note in (folder / "work").glob("step_*.json")]
        for note in sorted(notes, key=lambda path: path.name, reverse=True):
            path = note.with_suffix(".pth")
            content = path.read_bytes() if path.exists() else b""
            if hashlib.sha256(content).hexdigest() == json.loads(note.read_text())["sha256"]:
                state = json.loads(content)
                self._note("resumed", state["step"])
                return state["step"], state["chain"]
        self._note("resumed", 0)
        return 0, chain(self.plan, 0)

    # What it leaves

    def _write_outputs(self, value: str) -> None:
        outputs = self.folder / "outputs"
        outputs.mkdir()
        result = {"chain": value, "steps": self.plan.steps, "attempt": self.attempt}
        (outputs / "metrics.json").write_text(json.dumps(result))
        wait_at("outputs")
        weights = value.encode() + b"\0" * (1024 * self.plan.outputs_kb)
        (outputs / "student.safetensors").write_bytes(weights)

    def _end(self, status: str, reason: str, message: str = "", **result: str) -> None:
        wait_at("outcome")
        outcome = {"status": status, "reason": reason, "message": message, "result": result}
        tmp = self.folder / ".outcome.json.tmp"
        tmp.write_text(json.dumps(outcome))
        tmp.replace(self.folder / "outcome.json")
        self._stop_loader()
        self._note("end", 0)
        sys.exit({"succeeded": 0, "failed": 1, "stopped": 3}[status])

    def _tell(self, kind: str, *, step: int, message: str = "") -> None:
        line = {
            "type": kind,
            "at": datetime.now(UTC).isoformat(),
            "message": message,
            "iteration": step,
            "total_iterations": self.plan.steps,
            "done": step / self.plan.steps,
        }
        with (self.folder / "progress.jsonl").open("a") as file:
            file.write(json.dumps(line) + "\n")

    def _note(self, what: str, step: int) -> None:
        ledger = Path(os.environ[FAULTS_FOLDER]) / f"{self.job}.ledger"
        note = {"attempt": self.attempt, "what": what, "step": step}
        with ledger.open("a") as file:
            file.write(json.dumps(note) + "\n")

    # Processes

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """Note it when another attempt of the job is at work: the kernel drops a lock with its
        holder."""
        path = Path(os.environ[FAULTS_FOLDER]) / f"{self.job}.lock"
        with path.open("w") as self._lock:
            try:
                fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                self._note("overlap", 0)
            yield

    def _start_loader(self) -> None:
        """A child, as a DataLoader has: it ends when it sees that its parent is gone."""
        if self.plan.deaf:
            subprocess.Popen([sys.executable, "-S", "-c", _DEAF])
            subprocess.Popen(["setsid", "--fork", sys.executable, "-S", "-c", _DEAF])
            return
        parent = os.getpid()
        self.loader = os.fork()
        if self.loader == 0:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            os.close(self._lock.fileno())
            while os.getppid() == parent:
                time.sleep(0.05)
            os._exit(0)

    def _look_after_loader(self) -> None:
        if self.loader and os.waitpid(self.loader, os.WNOHANG)[0]:
            loader, self.loader = self.loader, 0
            self._end("failed", "worker_lost", f"DataLoader worker {loader} was killed")

    def _stop_loader(self) -> None:
        if self.loader:
            os.kill(self.loader, signal.SIGKILL)
            os.waitpid(self.loader, 0)

    def _asked(self, _number: int, _frame: object) -> None:
        self.signalled = True

    def _is_to_stop(self) -> bool:
        asked = self.signalled or (self.folder / "stop").exists()
        return asked and not self.plan.deaf

    def no_room(self) -> None:
        """As the real one: with an outcome if there is room for that, else an exit code."""
        try:
            self._end("failed", "disk_full", "the disk is full")
        except OSError:
            sys.exit(NO_ROOM_EXIT)


def main() -> None:
    rank = int(os.environ.get("RANK", "0"))
    folder = Path(sys.argv[2])
    if rank:  # of several processes the first does it all
        while not (folder / "outcome.json").exists():
            time.sleep(0.02)
        return
    trainer = Trainer(json.loads(Path(sys.argv[1]).read_text()), folder)
    try:
        trainer.main()
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        trainer.no_room()


if __name__ == "__main__":
    main()
