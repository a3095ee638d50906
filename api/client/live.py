"""What a job leaves while it runs, from Python: live, resumed where a connection broke."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Literal, overload

import httpx
from httpx_sse import SSEError, connect_sse

from api.client.artifacts import ArtifactCalls
from api.client.jobs import PATIENCE_S, JobCalls
from api.client.wire import ApiError, refusal
from api.schemas import EventView, MetricLine, Series

AGAIN_S = 1.0  # after a stream that was cut
SILENCE_S = 45.0  # three pings did not come: the connection is dead
TAIL_BYTES = 8192


class LiveCalls(ArtifactCalls, JobCalls):
    """What is asked of a job that runs."""

    @overload
    def events(
        self, job_id: str, *, after: int = 0, follow: Literal[False] = False
    ) -> Series[EventView]: ...
    @overload
    def events(
        self, job_id: str, *, after: int = 0, follow: Literal[True]
    ) -> Iterator[EventView]: ...
    def events(
        self, job_id: str, *, after: int = 0, follow: bool = False
    ) -> Series[EventView] | Iterator[EventView]:
        """The job's history after a sequence number; with `follow`, line by line until it ends."""
        path = f"/v1/jobs/{job_id}/events"
        if not follow:
            return self._get(path, Series[EventView], after=after)
        lines = self._follow(f"{path}/stream", after)
        return (EventView.model_validate_json(line) for line in lines)

    def follow_metrics(self, job_id: str, *, after: int = 0) -> Iterator[MetricLine]:
        """Lines of progress as they come, until the job ends."""
        lines = self._follow(f"/v1/jobs/{job_id}/metrics/stream", after)
        return (MetricLine.model_validate_json(line) for line in lines)

    def follow_logs(self, job_id: str, *, interval_s: float = 1.0) -> Iterator[str]:
        """The trainer's log from near its end on, as it grows, each attempt's; until it ends."""
        attempt, start, tail = 0, 0, f"bytes=-{TAIL_BYTES}"
        while True:
            job = self.job(job_id)
            if job.attempt != attempt:
                if attempt:  # what the attempt before wrote at its very end
                    yield self._log_from(job_id, attempt, start, tail)[0]
                    tail = "bytes=0-"
                attempt, start = job.attempt, 0
            if attempt:
                text, start = self._log_from(job_id, attempt, start, tail)
                if text:
                    yield text
            if job.ended:
                return
            time.sleep(interval_s)

    def download_log(self, job_id: str, path: Path, *, attempt: int | None = None) -> Path:
        """The whole log as a file; `path` is the file, or a folder that exists."""
        number = attempt or self.job(job_id).attempt
        target = path / f"{job_id}-attempt-{number}.log" if path.is_dir() else path
        part = target.with_name(f".{target.name}.{os.getpid()}.part")
        try:
            self._save(f"/v1/jobs/{job_id}/logs/download?attempt={max(number, 1)}", part)
            part.replace(target)
        finally:
            part.unlink(missing_ok=True)
        return target

    def _save(self, url: str, path: Path) -> None:
        try:
            with path.open("wb") as file, self._http.stream("GET", url) as answer:
                if answer.is_error:
                    answer.read()
                    raise refusal(answer)
                for piece in answer.iter_bytes():
                    file.write(piece)
        except httpx.TransportError as error:
            raise self._unreachable(error) from error

    def _log_from(self, job_id: str, attempt: int, start: int, tail: str) -> tuple[str, int]:
        """What is new in the log, whole lines of it, and where the next piece starts."""
        wanted = f"bytes={start}-" if start else tail
        try:
            answer = self._send(
                "GET",
                f"/v1/jobs/{job_id}/logs/download",
                params={"attempt": attempt},
                headers={"Range": wanted},
            )
        except ApiError as error:
            if error.status in (404, 416):  # not there yet, or nothing new
                return "", start
            raise
        begun = answer.headers.get("content-range", "bytes 0-").removeprefix("bytes ")
        content = answer.content
        whole = content[: content.rfind(b"\n") + 1] or content
        return whole.decode("utf-8", "replace"), int(begun.partition("-")[0]) + len(whole)

    def _follow(self, path: str, after: int) -> Iterator[str]:
        """The data of each message up to the end, however often the connection breaks."""
        answered = time.monotonic()
        while True:
            try:
                for number, data in self._stream_once(path, after):
                    answered = time.monotonic()
                    if number is None:
                        return
                    after = number
                    yield data
                answered = time.monotonic()
            except httpx.TransportError as error:
                if time.monotonic() - answered > PATIENCE_S:
                    raise self._unreachable(error) from error
            except ApiError as error:
                too_long = time.monotonic() - answered > PATIENCE_S
                if too_long or (error.status < 500 and error.status != 429):
                    raise
            time.sleep(AGAIN_S)

    def _stream_once(self, path: str, after: int) -> Iterator[tuple[int | None, str]]:
        """(number, data) of each message; the number of the end is None."""
        headers = {"Last-Event-ID": str(after)}
        timeout = httpx.Timeout(self._http.timeout.connect, read=SILENCE_S)
        with connect_sse(self._http, "GET", path, headers=headers, timeout=timeout) as source:
            if source.response.is_error:
                source.response.read()
                raise refusal(source.response)
            try:
                for message in source.iter_sse():
                    if message.event == "end":
                        yield None, message.data
                        return
                    if message.data:  # a ping has none
                        yield int(message.id), message.data
            except SSEError as error:
                raise ApiError(0, "error", f"no stream at {path}: {error}") from error
