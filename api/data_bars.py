"""How far a data set is, on a terminal: sending it, and its check."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    TaskID,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from api.client import Client
from api.schemas import DatasetView


@contextmanager
def bar(console: Console) -> Iterator[Callable[[str, float, float], None]]:
    """Tell it what is done, how much of it and of how much; a new word begins a new line.

    Nothing is drawn where the console is no terminal.
    """
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TaskProgressColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, disable=not console.is_terminal) as bars:
        lines: dict[str, TaskID] = {}

        def told(word: str, done: float, whole: float) -> None:
            if word not in lines:
                for line in bars.task_ids:  # what came before is done
                    bars.update(line, completed=1, total=1)
                lines[word] = bars.add_task(word, total=None)
            total = whole or None  # unknown: it only moves
            bars.update(lines[word], completed=done, total=total)

        yield told


def watch_check(client: Client, dataset_id: str, console: Console) -> DatasetView:
    """The data set once its check is done, with a bar meanwhile."""
    with bar(console) as told:

        def seen(dataset: DatasetView) -> None:
            stage = str(dataset.progress.get("stage") or "waiting for its check")
            done = dataset.progress.get("done")
            told(stage, done or 0.0, 0.0 if done is None else 1.0)

        return client.wait_for_dataset(dataset_id, seen=seen)
