"""Whether a check is wanted still, asked while it goes on, and how far it is, told meanwhile."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import structlog

from pgd_core.errors import IllegalMove, NotFound
from pgd_core.jobs.job import CheckState, Dataset, Teacher
from pgd_core.jobs.protocols import LibraryStore

_EVERY_S = 1.0

log = structlog.get_logger()


def watching(
    look: Callable[[], Dataset | Teacher],  # what is checked, as the database has it now
    stopping: Callable[[], bool],
    tell: Callable[[], None] = lambda: None,
) -> Callable[[], bool]:
    """`stopping` as it is asked again and again: each second it looks and tells, too.

    Raises NotFound once what is checked is deleted, IllegalMove once another process has checked
    it. A database that is away for a while breaks no check.
    """
    next_at = 0.0

    def ask() -> bool:
        nonlocal next_at
        if time.monotonic() >= next_at:
            next_at = time.monotonic() + _EVERY_S
            try:
                _refuse_checked(look())
                tell()
            except (NotFound, IllegalMove):
                raise
            except Exception as error:  # whatever the database's driver raises
                log.warning("progress_not_told", error=str(error))
        return stopping()

    return ask


def telling(
    library: LibraryStore,
    dataset_id: str,
    stage: str,
    stopping: Callable[[], bool],
    path: Path | None = None,  # where the check writes the share that is done; None: nobody knows
) -> Callable[[], bool]:
    """`watching` a data set, of which what is new is told; a file that says nonsense tells none."""
    told: dict[str, Any] = {}

    def tell() -> None:
        nonlocal told
        found = {"stage": stage} | ({} if path is None else _share(path))
        if found != told:
            library.dataset_told(dataset_id, found)
            told = found

    return watching(lambda: library.dataset(dataset_id), stopping, tell)


def _refuse_checked(thing: Dataset | Teacher) -> None:
    if thing.state != CheckState.CHECKING:
        raise IllegalMove(f"{thing.name} ({thing.id}) was checked meanwhile: it is {thing.state}")


def _share(path: Path) -> dict[str, float]:
    try:
        with path.open("rb") as file:
            done = json.loads(file.read(100))
    except (OSError, ValueError):
        return {}
    return {"done": float(done)} if isinstance(done, int | float) and 0 <= done <= 1 else {}
