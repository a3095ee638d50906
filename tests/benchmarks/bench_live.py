"""One API process with many who poll and many who listen, beside a job that writes.

    python -m tests.benchmarks.bench_live [--databases sqlite postgresql] [--seconds 30]

Pollers ask GET /v1/jobs/{id} at their own moments; half of the listeners stream the job's metrics,
half its events. A stand-in worker writes five lines of progress and an event a second, from another
process. Pollers and listeners are bare sockets in a process of their own, each
of a few API keys. Reported: how long an answer took, how long after it was written a line arrived,
and how many lines did not arrive, or not in order.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import multiprocessing
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from multiprocessing.synchronize import Event
from pathlib import Path

import httpx
import psutil

from pgd_core.jobs.job import Claim, Reason
from pgd_core.jobs.keys import Role
from pgd_core.jobs.machine import Offer
from pgd_core.jobs.run import ProgressLine
from pgd_core.jobs.spec import BackboneSpec, DetectorSpec, TrainJob
from pgd_core.store import SqlJobStore, SqlKeyStore, open_engine
from pgd_core.store.engine import writing
from pgd_core.store.moves import add_event, locked_job
from tests.benchmarks.tables import markdown
from tests.servers import free_port, migrated_url

LEASE = timedelta(minutes=10)
BEAT_S, LINES = 1.0, 5
HEAD = (
    "database",
    "polls/s",
    "median ms",
    "p95 ms",
    "p99 ms",
    "max ms",
    "lines sent to all",
    "lost or out of order",
    "median delay ms",
    "p99 delay ms",
    "API's CPU %",
    "machine's load",
)


@dataclass
class Seen:
    """What the clients saw."""

    counts_from: float = 0.0  # when everybody has connected
    polls_s: list[float] = field(default_factory=list)
    delays_s: list[float] = field(default_factory=list)
    numbers: list[tuple[str, list[int]]] = field(default_factory=list)  # series, of a listener


def main() -> None:
    options = read_options()
    rows = [measure(name, options) for name in options.databases]
    title = (
        f"{options.pollers} pollers, each every {options.every:g} s; {options.listeners} "
        f"listeners; {options.seconds:g} s, {os.cpu_count()} cores:"
    )
    sys.stdout.write(f"{title}\n\n{markdown(HEAD, rows)}\n")


def read_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--databases", nargs="+", default=["sqlite", "postgresql"])
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--warm-up", type=float, default=5.0, help="not counted, seconds")
    parser.add_argument("--pollers", type=int, default=500)
    parser.add_argument("--every", type=float, default=5.0)
    parser.add_argument("--listeners", type=int, default=100)
    parser.add_argument("--keys", type=int, default=50)
    return parser.parse_args()


def measure(database: str, options: argparse.Namespace) -> tuple[str, ...]:
    """A row of the table."""
    with tempfile.TemporaryDirectory(prefix="pgd-bench-") as folder:
        url = migrated_url(database, Path(folder))
        keys, claim = prepared(url, options.keys)
        with serving(url, folder) as (port, api):
            stop = multiprocessing.get_context("spawn").Event()
            writer = multiprocessing.get_context("spawn").Process(
                target=write, args=(url, claim, stop), daemon=True
            )
            writer.start()
            api.cpu_percent()
            seen = asyncio.run(clients(port, claim.job_id, keys, options, stop))
            busy = api.cpu_percent()
            writer.join()
        return figures(database, url, claim.job_id, seen, options, busy)


def prepared(url: str, keys: int) -> tuple[list[str], Claim]:
    """API keys, and a job in the hands of a worker."""
    engine = open_engine(url)
    made = [SqlKeyStore(engine).create(f"k{n}", "default", Role.VIEWER)[1] for n in range(keys)]
    model = DetectorSpec(detector="fcos", backbone=BackboneSpec(name="resnet18"))
    jobs = SqlJobStore(engine)
    jobs.submit(TrainJob(kind="train", dataset="digits", model=model))
    claimed = jobs.claim(Offer("bench", "default"), LEASE)
    assert claimed is not None
    jobs.started(claimed[1])
    engine.dispose()
    return made, claimed[1]


@contextlib.contextmanager
def serving(url: str, folder: str) -> Iterator[tuple[int, psutil.Process]]:
    """The API as a process of its own."""
    port = free_port()
    settings = {"PGD_DATA_FOLDER": folder, "PGD_DATABASE_URL": url, "PGD_PORT": str(port)}
    with Path(os.devnull).open("w") as nowhere:
        process = subprocess.Popen(
            [sys.executable, "-m", "api.serve"], env=os.environ | settings, stderr=nowhere
        )
    try:
        while True:
            with contextlib.suppress(httpx.TransportError):
                httpx.get(f"http://127.0.0.1:{port}/livez", trust_env=False)
                break
            assert process.poll() is None, "the API ended"
            time.sleep(0.05)
        yield port, psutil.Process(process.pid)
    finally:
        process.terminate()
        process.wait(30)


def write(url: str, claim: Claim, stop: Event) -> None:
    """In a process: the job's progress and events, until it ends."""
    engine = open_engine(url)
    jobs, beats = SqlJobStore(engine), 0
    while not stop.wait(BEAT_S):
        now = datetime.now(UTC).isoformat()
        lines = [
            ProgressLine(type="train", at=now, iteration=n, losses={"loss": 1.0})
            for n in range(beats * LINES, (beats + 1) * LINES)
        ]
        jobs.heartbeat(claim, LEASE, lines)
        beats += 1
        with writing(engine) as session:
            locked_job(session, claim.job_id)
            add_event(session, claim.job_id, "changed", {}, by="bench")
    jobs.finish(claim, Reason.COMPLETED)
    engine.dispose()


async def clients(
    port: int, job_id: str, keys: list[str], options: argparse.Namespace, stop: Event
) -> Seen:
    """Everybody at once, for so long; then the job ends, and with it the streams."""
    seen = Seen()
    seen.counts_from = time.perf_counter() + options.warm_up
    ends_at = seen.counts_from + options.seconds
    listeners = [
        asyncio.create_task(listen(port, job_id, keys[n % len(keys)], n, seen))
        for n in range(options.listeners)
    ]
    pollers = [
        poll(port, job_id, keys[n % len(keys)], options.every, n / options.pollers, ends_at, seen)
        for n in range(options.pollers)
    ]
    await asyncio.gather(*pollers)
    stop.set()
    async with asyncio.timeout(60):
        await asyncio.gather(*listeners)
    return seen


async def poll(
    port: int, job_id: str, key: str, every_s: float, phase: float, ends_at: float, seen: Seen
) -> None:
    """Ask again and again, at moments of its own, over a connection that the server may close."""
    next_at = time.perf_counter() + every_s * phase
    reader, writer = None, None
    while next_at < ends_at:
        await asyncio.sleep(max(0.0, next_at - time.perf_counter()))
        begun = time.perf_counter()
        if writer is None or reader is None or reader.at_eof():
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            writer.write(request(f"/v1/jobs/{job_id}", key))
            head = await reader.readuntil(b"\r\n\r\n")
        except (ConnectionError, asyncio.IncompleteReadError):
            reader = None  # closed at that very moment: once more, over another
            continue
        assert head.startswith(b"HTTP/1.1 200"), head
        length = head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0]
        await reader.readexactly(int(length))
        if begun >= seen.counts_from:
            seen.polls_s.append(time.perf_counter() - begun)
        next_at += every_s
    if writer is not None:
        writer.close()


async def listen(port: int, job_id: str, key: str, place: int, seen: Seen) -> None:
    """Read one stream to its end."""
    series = ("metrics", "events")[place % 2]
    numbers: list[int] = []
    seen.numbers.append((series, numbers))
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=2**20)
    begun = datetime.now(UTC)
    writer.write(request(f"/v1/jobs/{job_id}/{series}/stream", key))
    while line := await reader.readline():
        if line.startswith(b"id: "):
            numbers.append(int(line[4:]))
        elif line.startswith(b"data: ") and b'"at"' in line:
            at = datetime.fromisoformat(json.loads(line[6:])["at"])
            if at > begun:  # else it was written before anybody listened
                seen.delays_s.append((datetime.now(UTC) - at).total_seconds())
        elif line.startswith(b"event: end"):
            break
    writer.close()


def request(path: str, key: str) -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {key}\r\n\r\n".encode()


def figures(
    database: str,
    url: str,
    job_id: str,
    seen: Seen,
    options: argparse.Namespace,
    busy: float,
) -> tuple[str, ...]:
    engine = open_engine(url)
    jobs = SqlJobStore(engine)
    written = {
        "events": [event.sequence for event in jobs.events(job_id, limit=10**6)],
        "metrics": [number for number, _ in jobs.progress_lines(job_id, limit=10**6)],
    }
    engine.dispose()
    wrong = sum(
        len(set(written[series]) - set(numbers)) + (numbers != sorted(set(numbers)))
        for series, numbers in seen.numbers
    )
    polls = [1e3 * value for value in seen.polls_s]
    delays = [1e3 * value for value in seen.delays_s]
    return (
        database,
        f"{len(polls) / options.seconds:.0f}",
        *(f"{quantile(polls, at):.1f}" for at in (0.5, 0.95, 0.99, 1.0)),
        str(sum(len(numbers) for _, numbers in seen.numbers)),
        str(wrong),
        *(f"{quantile(delays, at):.0f}" for at in (0.5, 0.99)),
        f"{busy:.0f}",
        f"{os.getloadavg()[0]:.1f}",
    )


def quantile(values: list[float], at: float) -> float:
    return sorted(values)[int(at * (len(values) - 1))]


if __name__ == "__main__":
    main()
