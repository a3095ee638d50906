"""A worker's devices: which are free, and who claims for them. One job claims at a time."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence

import structlog

from pgd_core.jobs.machine import Device

log = structlog.get_logger()


class Slots:
    """The devices of one worker, shared by its threads."""

    def __init__(
        self,
        devices: Sequence[Device],
        unusable: Callable[[Sequence[Device]], Mapping[int, str]] = lambda _: {},
    ) -> None:
        """`unusable` says of free devices, by slot, why one cannot be used: a stranger's GPU."""
        self._devices = tuple(devices)
        self._unusable = unusable
        self._held: set[int] = set()
        self._lock = threading.Lock()
        self._claiming = threading.Lock()

    @contextlib.contextmanager
    def claiming(self) -> Iterator[tuple[Device, ...]]:
        """What is free, while nobody else claims."""
        with self._claiming:
            yield self.usable()

    def usable(self) -> tuple[Device, ...]:
        """Devices that no job of ours holds, nor anybody else."""
        free = self.free()
        troubles = self._unusable(free)
        return tuple(device for device in free if device.slot not in troubles)

    def free(self) -> tuple[Device, ...]:
        """Devices that no job of ours holds."""
        with self._lock:
            return tuple(device for device in self._devices if device.slot not in self._held)

    def troubles(self) -> Mapping[int, str]:
        """Why free devices cannot be used, in words, by slot."""
        return self._unusable(self.free())

    def hold(self, slots: Sequence[int]) -> tuple[Device, ...]:
        """Take devices for a job."""
        with self._lock:
            assert not self._held & set(slots), "a device was claimed twice"
            self._held |= set(slots)
            return tuple(device for device in self._devices if device.slot in slots)

    def release(self, devices: Sequence[Device]) -> None:
        """Give a job's devices back."""
        with self._lock:
            self._held -= {device.slot for device in devices}
