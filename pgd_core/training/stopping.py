"""Being asked to stop, and that all processes of a run hear it at the same place."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from torch.utils.data import DataLoader

from pgd_core.errors import StoppedBySignal
from pgd_core.training.agreement import agree, most


class StopRequest:
    """A stop file, SIGTERM or SIGINT; remembered until the next step ends."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.signalled = False

    def listen(self) -> None:
        """Take SIGTERM and SIGINT as requests."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._remember)

    def _remember(self, _number: int, _frame: Any) -> None:
        self.signalled = True

    def agreed(self) -> bool:
        """Whether any of the processes was asked."""
        return agree(self.signalled or self.file.exists(), "max")

    def check(self) -> None:
        """Outside of training: raise StoppedBySignal if asked."""
        if self.agreed():
            raise StoppedBySignal("stopped outside of training; what was being done is made again")

    def heard_between(self, loader: DataLoader[Any]) -> Iterator[Any]:
        """The loader's batches, each followed by a `check`, on every process the same number."""
        rounds = most(len(loader))
        for batch in loader:
            yield batch
            self.check()
        for _ in range(rounds - len(loader)):  # others have one more
            self.check()
