"""Child processes that live and die together: started, watched, started again, stopped in order.

Each child is the leader of a session of its own, so a Ctrl-C in the terminal reaches the parent
alone, which stops them in order. On Linux the kernel sends SIGTERM to a child whose parent dies;
what survives even that is swept at the next start from the file of process ids.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

POLL_S = 0.1
MAX_ENDS = 4  # the fourth end within the window is the last
ENDS_WINDOW_S = 120.0
_PR_SET_PDEATHSIG = 1


class GaveUp(Exception):
    """A child ends again and again."""


@dataclass(frozen=True)
class Program:
    """What a child runs."""

    name: str
    command: tuple[str, ...]
    environment: Mapping[str, str]
    log: Path
    stop_s: float = 15.0  # from SIGTERM to SIGKILL
    passed_files: tuple[int, ...] = ()


@dataclass
class Child:
    """A program and its process."""

    program: Program
    process: subprocess.Popen[bytes] | None = None
    ends: list[float] = field(default_factory=list)  # monotonic seconds

    def start(self) -> None:
        """Start the process; its output is appended to the log."""
        self.program.log.parent.mkdir(parents=True, exist_ok=True)
        with self.program.log.open("ab") as log:
            self.process = subprocess.Popen(
                self.program.command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=dict(self.program.environment),
                start_new_session=True,
                pass_fds=self.program.passed_files,
                preexec_fn=die_with_parent(),
            )

    def signal(self, number: signal.Signals) -> None:
        """To the process, or with SIGKILL to its whole group."""
        if self.process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            if number is signal.SIGKILL:
                os.killpg(self.process.pid, number)
            elif self.process.poll() is None:
                self.process.send_signal(number)

    def ended(self) -> bool:
        """Whether no process runs."""
        return self.process is None or self.process.poll() is not None


class Family:
    """Children in the order they start in; they stop the other way round."""

    def __init__(self, register: Path, warn: Callable[[str], None]) -> None:
        self._register = register
        self._warn = warn
        self._children: list[Child] = []

    def start(self, program: Program) -> None:
        """Start one more child."""
        child = Child(program)
        self._children.append(child)
        child.start()
        self._write_register()

    def look(self) -> None:
        """Start again what ended; GaveUp when it ends too often."""
        for child in self._children:
            if not child.ended():
                continue
            assert child.process is not None
            name, code, now = child.program.name, child.process.returncode, time.monotonic()
            child.ends = [end for end in child.ends if now - end < ENDS_WINDOW_S] + [now]
            if len(child.ends) >= MAX_ENDS:
                raise GaveUp(
                    f"the {name} ended {MAX_ENDS} times (exit code {code}). The end of "
                    f"{child.program.log}:\n{last_lines(child.program.log)}"
                )
            self._warn(f"the {name} ended (exit code {code}) and is started again")
            child.start()
            self._write_register()

    def stop(self, hurried: Callable[[], bool]) -> None:
        """Stop the youngest first, each with its time to end; at once when hurried."""
        for child in reversed(self._children):
            child.signal(signal.SIGTERM)
            deadline = time.monotonic() + child.program.stop_s
            while not child.ended() and time.monotonic() < deadline and not hurried():
                time.sleep(POLL_S)
            child.signal(signal.SIGKILL)  # and what it left in its group
            if child.process is not None:
                child.process.wait()
        self._register.unlink(missing_ok=True)

    def _write_register(self) -> None:
        alive = [child.process.pid for child in self._children if child.process is not None]
        new = self._register.with_suffix(".new")
        new.write_text(json.dumps({str(pid): birth(pid) for pid in alive}))
        new.replace(self._register)


def sweep(register: Path, grace_s: float = 10.0) -> list[int]:
    """End what a killed parent left behind; the ids of the processes that were found."""
    try:
        written: dict[str, str] = json.loads(register.read_text())
    except (FileNotFoundError, ValueError):
        return []
    left = [int(pid) for pid, born in written.items() if born and birth(int(pid)) == born]
    for number, wait_s in ((signal.SIGTERM, grace_s), (signal.SIGKILL, grace_s)):
        for pid in left:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(pid, number)
        deadline = time.monotonic() + wait_s
        while any(birth(pid) == written[str(pid)] for pid in left) and time.monotonic() < deadline:
            time.sleep(POLL_S)
    register.unlink(missing_ok=True)
    return left


def birth(pid: int) -> str:
    """What tells a process from a later one with the same id; "" when there is none."""
    if sys.platform == "linux":
        try:
            state, *fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        except OSError:
            return ""
        return "" if state in "ZX" else f"{boot} {fields[18]}"
    ps = ["ps", "-o", "lstart=", "-p", str(pid)]
    return subprocess.run(ps, capture_output=True, text=True, check=False).stdout.strip()


def die_with_parent() -> Callable[[], None] | None:
    """For a child between fork and exec: SIGTERM when the parent dies (Linux only)."""
    if sys.platform != "linux":
        return None
    libc, parent = ctypes.CDLL(None), os.getpid()

    def arrange() -> None:
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:  # it died meanwhile
            os._exit(1)

    return arrange


def last_lines(path: Path, count: int = 15) -> str:
    """The end of a log."""
    with path.open("rb") as file:
        file.seek(max(file.seek(0, os.SEEK_END) - 16_384, 0))
        lines: Sequence[bytes] = file.read().splitlines()[-count:]
    return b"\n".join(lines).decode("utf-8", "replace")
