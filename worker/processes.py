"""Processes we start, and that none of them outlives us unnoticed.

Everything started here carries two environment variables, which its children inherit whatever they
do to their process group or parent: PGD_TRAINER names the attempt, PGD_SUPERVISOR the process that
watches over it. From them all that belongs to an attempt can be found, and what nobody watches.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import psutil

MARKER = "PGD_TRAINER"
SUPERVISOR = "PGD_SUPERVISOR"

_POLL_S = 0.05


def marks(marker: str) -> dict[str, str]:
    """The environment variables of a process that this one watches over."""
    return {MARKER: marker, SUPERVISOR: _identity(os.getpid())}


def members(marker: str, session: int | None = None) -> list[psutil.Process]:
    """The living processes of an attempt: by its marker, and those still in its session."""
    return _find(
        lambda process: (
            (session is not None and os.getsid(process.pid) == session)
            or process.environ().get(MARKER) == marker
        )
    )


def orphans() -> list[psutil.Process]:
    """Living processes whose supervisor is dead, among those that it started in this container."""
    living = {_identity(pid) for pid in psutil.pids()}
    here = _container(_identity(os.getpid()))

    def orphaned(process: psutil.Process) -> bool:
        supervisor = process.environ().get(SUPERVISOR, "")
        return bool(supervisor) and _container(supervisor) == here and supervisor not in living

    return _find(orphaned)


def end_members(
    marker: str, session: int | None = None, *, gently_s: float = 2.0, killing_s: float = 10.0
) -> list[int]:
    """SIGTERM to all of an attempt, then SIGKILL; the ids of those that live even so."""
    return _end(lambda: members(marker, session), gently_s, killing_s)


def end_earlier(job_id: str, attempt: int, *, killing_s: float = 10.0) -> list[int]:
    """SIGKILL to what runs here of the job's earlier attempts; the ids that were found.

    A worker that was killed or is frozen leaves its trainer to train on, while the job is given to
    another worker of the same machine.
    """

    def is_earlier(process: psutil.Process) -> bool:
        of_job, _, number = process.environ().get(MARKER, "").rpartition("/")
        return of_job == job_id and int(number) < attempt

    found = [process.pid for process in _find(is_earlier)]
    if found:
        _end(lambda: _find(is_earlier), 0.0, killing_s)
    return found


def end_orphans(*, gently_s: float = 2.0, killing_s: float = 10.0) -> list[int]:
    """End what dead supervisors left behind; the ids that were found."""
    found = [process.pid for process in orphans()]
    if found:
        _end(orphans, gently_s, killing_s)
    return found


def _end(find: Callable[[], list[psutil.Process]], gently_s: float, killing_s: float) -> list[int]:
    if gently_s > 0 and not _signal_until_gone(find, signal.SIGTERM, gently_s):
        return []
    return [process.pid for process in _signal_until_gone(find, signal.SIGKILL, killing_s)]


def _signal_until_gone(
    find: Callable[[], list[psutil.Process]], number: signal.Signals, patience_s: float
) -> list[psutil.Process]:
    """Signal each process once, new ones too, until none is left or patience is; those left."""
    deadline = time.monotonic() + patience_s
    signalled: set[int] = set()
    while left := find():
        for process in left:
            if process.pid not in signalled:
                signalled.add(process.pid)
                with contextlib.suppress(psutil.Error):
                    process.send_signal(number)
        if time.monotonic() > deadline:
            break
        time.sleep(_POLL_S)
    return left


def _find(wanted: Callable[[psutil.Process], bool]) -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter():
        # What ends meanwhile, or belongs to another user, is none of ours; nor is a zombie, which
        # holds nothing any more.
        with contextlib.suppress(psutil.Error, OSError):
            if (
                process.pid != os.getpid()
                and wanted(process)
                and process.status() != psutil.STATUS_ZOMBIE
            ):
                found.append(process)
    return found


def _identity(pid: int) -> str:
    """Of a process, for as long as the machine is up: its id may be used again, this is not.

    On Linux the start is counted from boot, as the wall clock may be set in between; and process
    ids are those of one container.
    """
    try:
        statistics = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
        started = statistics.rpartition(")")[2].split()[19]
        return f"{Path('/proc/self/ns/pid').readlink()}/{pid}/{started}"
    except (OSError, IndexError):
        pass
    with contextlib.suppress(psutil.Error):
        return f"{pid}/{psutil.Process(pid).create_time():.2f}"
    return ""


def _container(identity: str) -> str:
    return identity.partition("/")[0]
