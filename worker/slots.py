"""A worker's devices: which are free, and who claims for them. One job claims at a time."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence

import structlog

from pgd_core.jobs.machine import Device
from worker.rest import Rests

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
        self._rests = Rests()
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
        troubles = self._troubles(free)
        return tuple(device for device in free if device.slot not in troubles)

    def free(self) -> tuple[Device, ...]:
        """Devices that no job of ours holds."""
        with self._lock:
            return tuple(device for device in self._devices if device.slot not in self._held)

    def troubles(self) -> Mapping[int, str]:
        """Why free devices cannot be used, in words, by slot."""
        return self._troubles(self.free())

    def used_by_others(self, devices: Sequence[Device]) -> str:
        """Why these devices, whose job has just ended, cannot be used all the same; or ""."""
        return "; ".join(dict.fromkeys(self._unusable(devices).values()))

    def rest(self, why: str, devices: Sequence[Device] | None = None) -> None:
        """Offer these devices, or all, for no job for a while: their machine is in trouble."""
        slots = [device.slot for device in (self._devices if devices is None else devices)]
        log.warning("rests", slots=slots, message=why)
        self._rests.begin(slots, why)

    def worked(self, devices: Sequence[Device]) -> None:
        """A job succeeded on them."""
        self._rests.end([device.slot for device in devices])

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

    def _troubles(self, free: Sequence[Device]) -> Mapping[int, str]:
        resting = self._rests.troubles([device.slot for device in free])
        return {**self._unusable(free), **resting}
