"""Points at which a process waits for a test, so that a fault hits a moment exactly."""

from __future__ import annotations

import os
import time
from pathlib import Path

FOLDER = "FAULTS_FOLDER"  # environment variable of the processes under test


def wait_at(point: str) -> None:
    """Go on at once, unless a test closed this gate; then when it opens it."""
    folder = os.environ.get(FOLDER)
    if folder is None:
        return
    closed = Path(folder) / f"{point}.closed"
    if not closed.exists():
        return
    (Path(folder) / f"{point}.reached").write_text(str(os.getpid()))
    while closed.exists():
        time.sleep(0.01)


class Gates:
    """A test's side of the gates."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def close(self, point: str) -> None:
        (self.folder / f"{point}.reached").unlink(missing_ok=True)
        (self.folder / f"{point}.closed").touch()

    def reached(self, point: str) -> bool:
        """Whether a process waits there, or did since it was closed."""
        return (self.folder / f"{point}.reached").exists()

    def open(self, point: str) -> None:
        (self.folder / f"{point}.closed").unlink(missing_ok=True)

    def open_all(self) -> None:
        for path in self.folder.glob("*.closed"):
            path.unlink()
