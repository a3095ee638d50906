"""Who watches jobs live: one watcher a process asks the database, however many listen.

Twice a second, and while anybody listens at all, the watcher asks for the last numbers of all jobs
that are listened to, reads what is new of each once, and wakes the listeners. Each sends from its
own last number on: from what the watcher remembers of the newest lines, else from the database. A
slow one falls behind alone, and holds nothing in memory but its number.
"""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections import deque
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field

import structlog

from api.caller import Caller
from api.errors import NotServing
from pgd_core.jobs.live import LiveStore, Marks, SeriesName

POLL_S = 0.5
KEYS_EVERY_S = 20.0  # a revoked key's streams end within this
PING_S = 15.0  # of silence, then a comment keeps the connection open
LIFETIME_S = 3600.0  # of a stream; its client comes again
MOST_LISTENERS = 1000  # of a process
REMEMBERED = 500  # newest lines of a series
PAGE = 200  # lines that one listener reads from the database at once

Line = tuple[int, str]  # its number, and itself as JSON
Reader = Callable[[str, SeriesName, int, int], list[Line]]  # job, series, after, limit
log = structlog.get_logger()


@dataclass
class _Series:
    """The newest lines of a series; what is older is in the database."""

    last: int  # the number of the newest line that was read
    lines: deque[Line] = field(default_factory=lambda: deque(maxlen=REMEMBERED))

    def after(self, number: int) -> list[Line] | None:
        """What follows the number; None where not all of it is remembered."""
        if self.lines and self.lines[0][0] <= number + 1:
            return [line for line in self.lines if line[0] > number]
        return None


class Watcher:
    """Of one process; its thread runs while anybody listens."""

    def __init__(self, store: LiveStore, read: Reader, *, poll_s: float = POLL_S) -> None:
        self._store, self._read, self._poll_s = store, read, poll_s
        self._lock = threading.Lock()
        self._listeners: set[Listener] = set()
        self._marks: dict[str, Marks] = {}
        self._series: dict[tuple[str, SeriesName], _Series] = {}
        self._wake = threading.Event()
        self._thread: threading.Thread | None = None
        self._keys_seen_at = time.monotonic()
        # Few, so that requests find a connection to the database free.
        self._readers = ThreadPoolExecutor(4, thread_name_prefix="live-reader")
        self.closing = False

    def listener(self, caller: Caller, job_id: str, series: SeriesName, after: int) -> Listener:
        """One that may stream; NotServing when there are too many, or the process ends."""
        if self.closing or len(self._listeners) >= MOST_LISTENERS:
            raise NotServing("no more streams here now; come again, or ask without a stream")
        return Listener(self, caller, job_id, series, after)

    def close(self) -> None:
        """End every stream: the process is about to end."""
        with self._lock:
            self.closing = True
            for listener in self._listeners:
                listener.notify()
        self._wake.set()
        self._readers.shutdown(wait=False)

    def join(self, listener: Listener) -> None:
        """Look for this one, too."""
        with self._lock:
            self._listeners.add(listener)
            if self._thread is None:
                self._thread = threading.Thread(target=self._watch, name="live", daemon=True)
                self._thread.start()
        self._wake.set()

    def leave(self, listener: Listener) -> None:
        """Look for this one no more."""
        with self._lock:
            self._listeners.discard(listener)
            if not self._listeners:
                self._wake.set()

    def marks_of(self, job_id: str) -> Marks | None:
        """How far the job is known to be; None: it has not been looked at yet."""
        return self._marks.get(job_id)

    async def lines_after(self, job_id: str, series: SeriesName, number: int) -> list[Line]:
        """What comes next: remembered, or some of it from the database."""
        with self._lock:
            known = self._series.get((job_id, series))
            lines = known.after(number) if known else None
        if lines is not None:
            return lines
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._readers, self._read, job_id, series, number, PAGE)

    def _watch(self) -> None:
        while (listeners := self._present()) and not self.closing:
            self._wake.clear()
            try:
                self._look(listeners)
            except Exception as error:  # a database that is down comes back
                log.warning("live_look_failed", error=str(error))
            self._wake.wait(self._poll_s)
            time.sleep(self._poll_s / 10)  # those who come at once are looked for together

    def _present(self) -> list[Listener]:
        """Those who listen; when there is none, the thread is over."""
        with self._lock:
            if not self._listeners or self.closing:
                self._thread, self._marks, self._series = None, {}, {}
            return list(self._listeners)

    def _look(self, listeners: list[Listener]) -> None:
        wanted = {(listener.job_id, listener.series) for listener in listeners}
        found = self._store.marks({job_id for job_id, _ in wanted})
        for job_id, series in wanted:
            if job_id in found:
                self._catch_up(job_id, series, found[job_id].of(series))
        with self._lock:
            old, self._marks = self._marks, found
            self._series = {key: of for key, of in self._series.items() if key in wanted}
        self._look_at_keys(listeners)
        for listener in listeners:
            new = found.get(listener.job_id)
            listener.unwanted |= new is None
            if listener.unwanted or not listener.told or new != old.get(listener.job_id):
                listener.notify()

    def _catch_up(self, job_id: str, name: SeriesName, mark: int) -> None:
        with self._lock:
            series = self._series.setdefault((job_id, name), _Series(mark))
        while series.last < mark:
            lines = self._read(job_id, name, series.last, REMEMBERED)
            if not lines:
                return
            with self._lock:
                series.lines.extend(lines)
                series.last = lines[-1][0]

    def _look_at_keys(self, listeners: list[Listener]) -> None:
        now = time.monotonic()
        if now - self._keys_seen_at < KEYS_EVERY_S:
            return
        good = self._store.good_keys({listener.caller.key.id for listener in listeners})
        self._keys_seen_at = now
        for listener in listeners:
            listener.unwanted |= listener.caller.key.id not in good


class Listener:
    """One client's stream of one series of one job."""

    def __init__(
        self, watcher: Watcher, caller: Caller, job_id: str, series: SeriesName, after: int
    ) -> None:
        self.caller, self.job_id, self.series, self.number = caller, job_id, series, after
        self.unwanted = False  # its key is good no more, or its job is gone
        self.told = False  # whether it was ever woken
        self._watcher = watcher
        self._news = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._ends_at = 0.0

    def notify(self) -> None:
        """There is something to look at; from any thread."""
        self.told = True
        if self._loop is not None:
            with suppress(RuntimeError):  # the loop has ended, and with it the stream
                self._loop.call_soon_threadsafe(self._news.set)

    async def stream(self) -> AsyncIterator[str]:
        """Server-Sent Events: every line after its number, then the end; cut short when its time is
        over. What comes at once is sent at once: a message alone costs as much as ten."""
        self._loop = asyncio.get_running_loop()
        self._ends_at = time.monotonic() + LIFETIME_S
        self._watcher.join(self)
        try:
            yield ": from here on\n\n"
            while not self._over(None):
                if not await self._woken():
                    yield ": ping\n\n"
                    continue
                marks = self._watcher.marks_of(self.job_id)
                if marks is None:
                    continue
                async for lines in self._until(marks):
                    yield "".join(f"data: {text}\nid: {number}\n\n" for number, text in lines)
                if self._over(marks):
                    return
                if marks.ended and self.number >= marks.of(self.series):
                    yield f"event: end\ndata: {json.dumps({'state': marks.state})}\n\n"
                    return
        finally:
            self._watcher.leave(self)

    async def _until(self, marks: Marks) -> AsyncIterator[list[Line]]:
        """Its lines up to the mark."""
        while self.number < marks.of(self.series) and not self._over(marks):
            lines = await self._watcher.lines_after(self.job_id, self.series, self.number)
            if not lines:
                return
            self.number = lines[-1][0]
            yield lines

    async def _woken(self) -> bool:
        """Whether there is something to look at, rather than a while without anything."""
        wait_s = min(PING_S, self._ends_at - time.monotonic())
        with suppress(TimeoutError):
            await asyncio.wait_for(self._news.wait(), wait_s)
        woken = self._news.is_set()
        self._news.clear()
        return woken

    def _over(self, marks: Marks | None) -> bool:
        hidden = self.unwanted or (marks is not None and not self.caller.sees(marks.team))
        return hidden or self._watcher.closing or time.monotonic() >= self._ends_at
