"""Workers in a world of mounts of their own, where a folder is another than everybody else's."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from tests.end_to_end.faults.service import Process

_UNSHARE = ("unshare", "--user", "--map-root-user", "--mount")


def may_mount() -> bool:
    """Whether this machine lets us."""
    if shutil.which("unshare") is None:
        return False
    command = [*_UNSHARE, "mount", "-t", "tmpfs", "tmpfs", "/tmp"]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def with_a_disk_at(folder: Path) -> tuple[str, ...]:
    """The words before a command that sees an empty disk of 2 MiB as that folder."""
    mount = f'mount -t tmpfs -o size=2m tmpfs "{folder}" && exec "$@"'
    return (*_UNSHARE, "sh", "-c", mount, "sh")


def in_the_world_of(worker: Process, *command: str) -> None:
    """Run a command there."""
    enter = ("nsenter", "--user", "--mount", "--preserve-credentials", f"--target={worker.pid}")
    subprocess.run([*enter, *command], check=True)
