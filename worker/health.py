"""Signs of life: files that our processes renew as they work, and the look at them.

`python -m worker.health worker|reconciler|webhooks` ends with 0 when this machine's process has
given a sign of late, else with 1: the health check of a container. A process that hangs, or whose
database is away, still runs, but gives no sign.
"""

from __future__ import annotations

import os
import socket
import sys
import time
from pathlib import Path
from typing import Literal, cast, get_args

from pgd_core.settings import Settings

Process = Literal["worker", "reconciler", "webhooks"]

# A worker gives a sign with each heartbeat, a reconciler with each round.
_FRESH_S = 60.0
_FRESH_ROUNDS = 4


class SignOfLife:
    """The file of one kind of process on this machine; it holds the time of the last sign."""

    def __init__(self, data_folder: Path, process: Process) -> None:
        # The data folder may be shared by several machines.
        self._path = data_folder.resolve() / "signs" / f"{process}-{socket.gethostname()}"

    def give(self) -> None:
        """Say that the process works."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        new = self._path.with_name(f".{self._path.name}.{os.getpid()}")  # a machine may have many
        new.write_text(str(time.time()))  # not the file's own time: a file server's clock
        new.replace(self._path)

    def age_s(self) -> float | None:
        """Seconds since the last sign; None when there was none."""
        try:
            return abs(time.time() - float(self._path.read_text()))
        except (FileNotFoundError, ValueError):
            return None


def main(arguments: list[str]) -> int:
    """Composition root; returns the exit code."""
    if len(arguments) != 1 or arguments[0] not in get_args(Process):
        sys.stderr.write("usage: python -m worker.health worker|reconciler|webhooks\n")
        return 2
    process = cast(Process, arguments[0])
    settings = Settings()
    age_s = SignOfLife(settings.data_folder, process).age_s()
    if age_s is None:
        sys.stdout.write(f"the {process} has given no sign yet\n")
        return 1
    sys.stdout.write(f"the {process} gave its last sign {age_s:.0f} s ago\n")
    return 0 if age_s <= max(_FRESH_S, _FRESH_ROUNDS * settings.reconcile_s) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
