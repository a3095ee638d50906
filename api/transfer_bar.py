"""A file's way on a terminal: a bar with bytes, pace and the time left."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from api.client.transfers import Progress as Told


@contextmanager
def transfer_bar(title: str, console: Console | None = None) -> Iterator[Told]:
    """A bar on the error output, so that what is printed stays clean; none without a terminal.

    The pace and the time left are of what goes now: bytes of an earlier try count as done.
    """
    console = console or Console(stderr=True)
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        DownloadColumn(binary_units=True),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, disable=not console.is_terminal) as bars:
        bar = bars.add_task(title, total=None, start=False)

        def told(done: int, whole: int) -> None:
            task = bars.tasks[0]
            if not task.started:  # from here on its pace is measured
                bars.start_task(bar)
                bars.update(bar, total=whole)
                task.completed = done
            bars.update(bar, completed=done)

        yield told
