"""Devices that rest after a trouble of their machine, so that it does not fail job after job."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass

_FIRST_S, _LONGEST_S = 5.0, 300.0
_WORDS = 300  # characters that are told of a trouble


@dataclass(frozen=True)
class _Rest:
    times: int  # in a row, without a success between
    until: float  # by the clock
    words: str


class Rests:
    """Which devices rest, by slot, and why; safe to share between threads.

    A rest is twice as long as the one before, up to five minutes, until a success. Jobs that break
    at once, of one cause, begin one rest.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock, self._lock = clock, threading.Lock()
        self._rests: dict[int, _Rest] = {}

    def begin(self, slots: Collection[int], why: str) -> None:
        """Let devices rest; those that do already go on as they were."""
        now, why = self._clock(), " ".join(why.split())[:_WORDS]
        with self._lock:
            for slot in slots:
                last = self._rests.get(slot)
                if last is not None and now < last.until:
                    continue
                times = last.times + 1 if last else 1
                length_s = min(_FIRST_S * 2.0 ** min(times - 1, 10), _LONGEST_S)
                words = f"{why} (nothing is claimed for {length_s:g} s; {times} in a row)"
                self._rests[slot] = _Rest(times, now + length_s, words)

    def end(self, slots: Collection[int]) -> None:
        """Devices on which a job succeeded: their next rest is a short one again."""
        with self._lock:
            for slot in slots:
                self._rests.pop(slot, None)

    def troubles(self, slots: Collection[int]) -> dict[int, str]:
        """Of these devices the ones that rest now, with the reason in words."""
        now = self._clock()
        with self._lock:
            found = {slot: self._rests[slot] for slot in slots if slot in self._rests}
        return {slot: rest.words for slot, rest in found.items() if now < rest.until}
