"""Being asked to stop, and that all processes of a run hear it at the same place."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mmengine import dist
from torch.utils.data import DataLoader

from pgd_core.errors import StoppedBySignal
from pgd_core.jobs.run import ALIVE_FILE, STOP_FILE
from pgd_core.training.agreement import agree, most

_SHOWN_EVERY_S = 1.0


class StopRequest:
    """A stop file, SIGTERM or SIGINT; remembered until the next step ends.

    Whoever asks whether to stop is alive, and shows it: a trainer that hangs is found out by that.
    """

    def __init__(self, folder: Path) -> None:
        self.file, self._alive = folder / STOP_FILE, folder / ALIVE_FILE
        self.signalled = False
        self._shown_at = float("-inf")

    def listen(self) -> None:
        """Take SIGTERM and SIGINT as requests."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._remember)

    def _remember(self, _number: int, _frame: Any) -> None:
        self.signalled = True

    def agreed(self) -> bool:
        """Whether any of the processes was asked."""
        self._show_life()
        return agree(self.signalled or self.file.exists(), "max")

    def _show_life(self) -> None:
        if time.monotonic() - self._shown_at >= _SHOWN_EVERY_S:
            self._shown_at = time.monotonic()
            self._alive.touch()

    def check(self) -> None:
        """Outside of training: raise StoppedBySignal if asked."""
        if self.agreed():
            raise StoppedBySignal("stopped outside of training; what was being done is made again")

    def check_alone(self) -> None:
        """The same where one of several processes works alone: those go on to the next `check`."""
        if dist.get_world_size() == 1:
            self.check()

    def heard_between(self, loader: DataLoader[Any]) -> Iterator[Any]:
        """The loader's batches, each followed by a `check`, on every process the same number."""
        rounds = most(len(loader))
        for batch in loader:
            yield batch
            self.check()
        for _ in range(rounds - len(loader)):  # others have one more
            self.check()
