"""How far a check is, told to the database while it goes on."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import structlog

from pgd_core.jobs.protocols import LibraryStore

_EVERY_S = 1.0

log = structlog.get_logger()


def telling(
    library: LibraryStore,
    dataset_id: str,
    stage: str,
    stopping: Callable[[], bool],
    path: Path | None = None,  # where the check writes the share that is done; None: nobody knows
) -> Callable[[], bool]:
    """`stopping` as it is asked again and again: each second it tells what is new, too.

    A database that is away for a while, or a file that says nonsense, breaks no check.
    """
    told: dict[str, Any] = {}
    next_at = 0.0

    def ask() -> bool:
        nonlocal told, next_at
        if time.monotonic() >= next_at:
            next_at = time.monotonic() + _EVERY_S
            found = {"stage": stage} | ({} if path is None else _share(path))
            if found != told:
                _tell(library, dataset_id, found)
                told = found
        return stopping()

    return ask


def _tell(library: LibraryStore, dataset_id: str, progress: dict[str, Any]) -> None:
    try:
        library.dataset_told(dataset_id, progress)
    except Exception as error:  # whatever the database's driver raises
        log.warning("progress_not_told", error=str(error))


def _share(path: Path) -> dict[str, float]:
    try:
        with path.open("rb") as file:
            done = json.loads(file.read(100))
    except (OSError, ValueError):
        return {}
    return {"done": float(done)} if isinstance(done, int | float) and 0 <= done <= 1 else {}
