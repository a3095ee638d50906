"""Running a command that reads files we do not trust, where it can do little harm."""

from __future__ import annotations

import functools
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

from worker.processes import end_members, marks

_GIB = 2**30
_POLL_S = 0.1
# No database password, no cloud key: nothing of ours but what finds the interpreter's libraries.
_KEPT_VARIABLES = ("PATH", "HOME", "PYTHONPATH", "LD_LIBRARY_PATH", "LANG")
# The shell sets the limits on itself and becomes the command: unlike a preexec_fn, that is safe in
# a process with threads. A limit that the platform does not know is passed over.
_LIMITED = 'ulimit -c 0; ulimit -t "$1"; ulimit -f "$2"; ulimit -v "$3"; shift 3; exec "$@"'


class Interrupted(Exception):
    """This process is stopping; the command was ended."""


@dataclass(frozen=True)
class CheckLimits:
    """What a confined command may use."""

    wall_s: float
    cpu_s: int
    memory_bytes: int = 16 * _GIB  # address space; importing torch alone maps several GiB
    file_bytes: int = 8 * _GIB  # the largest file it may write


def run_confined(
    command: Sequence[str],
    folder: Path,  # its working directory
    marker: str,
    limits: CheckLimits,
    stopping: Callable[[], bool],
    *,
    answer: Path,  # the file it leaves when it came to an answer
    answer_codes: Collection[int] = (0,),  # the exit codes it then ends with
) -> str:
    """What went wrong, in words; empty when it came to an answer. Interrupted on `stopping`.

    In a session of its own, without network where the platform lets us, with limits on time,
    memory and files, and with nothing of it left at the end.
    """
    marker = f"{marker}/{uuid4().hex}"  # another process may be at the same thing: not to be ended
    log_path = folder / "check.log"
    with log_path.open("wb") as output:
        process = subprocess.Popen(
            [*_without_network(), *_limited(limits), *command],
            cwd=folder,
            env={name: os.environ[name] for name in _KEPT_VARIABLES if name in os.environ}
            | marks(marker),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        code = _wait(process, limits.wall_s, stopping)
    finally:
        end_members(marker, process.pid, gently_s=0)
        process.wait()
    if code in answer_codes and answer.is_file():
        return ""
    return _in_words(code, limits, log_path)


def _wait(
    process: subprocess.Popen[bytes], wall_s: float, stopping: Callable[[], bool]
) -> int | None:
    """The exit code; None when the time ran out."""
    deadline = time.monotonic() + wall_s
    while time.monotonic() < deadline:
        try:
            return process.wait(_POLL_S)
        except subprocess.TimeoutExpired:
            if stopping():
                raise Interrupted from None
    return None


def _in_words(code: int | None, limits: CheckLimits, log_path: Path) -> str:
    if code is None:
        return f"the check took longer than {limits.wall_s:g} s"
    if code < 0:
        return f"the check was ended by {signal.Signals(-code).name}, at a limit of time or memory"
    last_lines = log_path.read_bytes()[-2000:].decode(errors="replace").strip().splitlines()[-5:]
    return f"the check ended with code {code} and no answer: " + "\n".join(last_lines)


def _limited(limits: CheckLimits) -> list[str]:
    file_blocks, memory_kib = limits.file_bytes // 512, limits.memory_bytes // 1024
    return ["/bin/sh", "-c", _LIMITED, "sh", str(limits.cpu_s), str(file_blocks), str(memory_kib)]


@functools.cache
def _without_network() -> tuple[str, ...]:
    """A command's prefix that takes the network away, or nothing where that is not permitted."""
    unshare = shutil.which("unshare")  # os.unshare needs Python 3.12
    if unshare is not None:
        for options in (("-n",), ("-r", "-n")):
            tried = subprocess.run([unshare, *options, "true"], capture_output=True, check=False)
            if tried.returncode == 0:
                return (unshare, *options, "--")
    return ()
