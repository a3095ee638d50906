"""How many claims a second the queue gives, and how long its decisions take, on PostgreSQL.

    python -m tests.benchmarks.bench_claims [--queued 1000 10000 100000] [--workers 100]

Three teams, mixed classes and sizes; workers are threads of a few processes, each as impatient as
can be. Three figures: all workers start at once and fill their eight slots (`claims`); the same
where each takes whatever job it finds and nobody asks whose turn it is (`plain claims`: how fast
the machine is at the moment); and each goes on claiming, starting and finishing jobs (`whole jobs`:
a claim, a start and an end each). Then on a quiet database: one decision, undone again; one around
a large job that must not be held up; the same where nothing fits and the whole queue is looked
through; and the forecast of all jobs.
"""

from __future__ import annotations

import argparse
import multiprocessing
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from itertools import islice
from multiprocessing.queues import Queue
from multiprocessing.synchronize import Barrier

from sqlalchemy import Engine, insert
from uuid_utils import uuid7

from pgd_core.jobs.forecast import forecast
from pgd_core.jobs.job import JobState, Reason
from pgd_core.jobs.machine import Device, Needs, Offer, Priority, Worker
from pgd_core.jobs.scheduling import SchedulingRules, Waiting
from pgd_core.store import (
    SqlJobStore,
    SqlQueue,
    SqlTeamStore,
    SqlWorkerStore,
    migrate,
    open_engine,
)
from pgd_core.store.claiming import _next, _take
from pgd_core.store.engine import writing
from pgd_core.store.tables import JobRow
from pgd_core.store.times import database_now
from tests.benchmarks.tables import markdown
from tests.servers import postgres_url

LEASE = timedelta(minutes=10)
SLOTS = tuple(Device(slot, "GPU", f"GPU-{slot}", 80_000) for slot in range(8))
RULES = SchedulingRules()
TEAMS = {"vision": 1.0, "speech": 1.0, "robots": 2.0}
NO_JOB = Waiting("none", "vision", Priority.NORMAL, Needs(), "train", "")
# As long as the spec of a distillation is.
SPEC = {"kind": "train", "name": "a student", "filler": "x" * 2000}

TAKE_ANY = """
    UPDATE jobs SET state = 'starting', worker = %(worker)s, claimed_at = now()
    WHERE id = (SELECT id FROM jobs WHERE state = 'queued' LIMIT 1 FOR UPDATE SKIP LOCKED)
    RETURNING id
"""


def main() -> None:
    options = read_options()
    rows = [measure(queued, options) for queued in options.queued]
    title = f"{options.workers} workers in {options.processes} processes, PostgreSQL:"
    sys.stdout.write(f"{title}\n\n{markdown(HEAD, rows)}\n")


Share = Callable[[SqlJobStore, str, float], int]

HEAD = (
    "queued",
    "claims/s",
    "plain claims/s",
    "whole jobs/s",
    "decision ms (p95)",
    "around a large job ms",
    "nothing fits ms",
    "forecast ms",
    "of it reading ms",
)


def read_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--queued", type=int, nargs="+", default=[1_000, 10_000, 100_000])
    parser.add_argument("--workers", type=int, default=100)
    parser.add_argument("--processes", type=int, default=4)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--repeats", type=int, default=3, help="of the throughputs")
    parser.add_argument("--decisions", type=int, default=50)
    return parser.parse_args()


def measure(queued: int, options: argparse.Namespace) -> tuple[str, ...]:
    """A row of the table."""
    filled, plain, worked = [], [], []
    for _ in range(options.repeats):
        url = prepared(queued, options.workers)
        filled.append(throughput(url, options, fill))
        worked.append(throughput(url, options, work))
        plain.append(throughput(prepared(queued, options.workers), options, take_any))
    url = prepared(queued, options.workers)
    engine = open_engine(url)
    throughput(url, options, fill)  # a busy pool, as it is when jobs wait
    decision = milliseconds(lambda: decide(engine, SLOTS), options.decisions)
    large_first(engine)
    around = milliseconds(lambda: decide(engine, SLOTS[:2]), options.decisions)
    large_only(engine)
    none = milliseconds(lambda: decide(engine, SLOTS[:1]), 10)
    queue = SqlQueue(engine, RULES)
    reading = milliseconds(lambda: queue.pool("default"), 5)
    whole = milliseconds(lambda: forecast(queue.pool("default")), 5)
    engine.dispose()
    return (
        f"{queued:,}",
        spread(filled),
        spread(plain),
        spread(worked),
        f"{statistics.median(decision):.1f} ({p95(decision):.1f})",
        f"{statistics.median(around):.1f}",
        f"{statistics.median(none):.1f}",
        f"{statistics.median(whole):.0f}",
        f"{statistics.median(reading):.0f}",
    )


def prepared(queued: int, workers: int) -> str:
    """A database with so many queued jobs and idle workers."""
    url = postgres_url()
    migrate(url)
    engine = open_engine(url)
    teams, announced = SqlTeamStore(engine), SqlWorkerStore(engine)
    for name, weight in TEAMS.items():
        teams.put(name, weight=weight, max_running_gpus=None, max_queued_jobs=None)
    for number in range(workers):
        announced.announce(Worker(f"worker-{number}", "host", 1, "default", SLOTS, {}))
    rows = job_rows()
    with writing(engine) as session:
        now = session.scalar(database_now().select())
        while batch := list(islice(rows, min(queued, 5_000))):
            session.execute(insert(JobRow), [row | {"created_at": now} for row in batch])
            queued -= len(batch)
            if queued <= 0:
                break
    change(engine, "ANALYZE")
    engine.dispose()
    return url


def job_rows() -> Iterator[dict[str, object]]:
    names = sorted(TEAMS)
    number = 0
    while True:
        yield {
            "id": str(uuid7()),
            "kind": "train",
            "name": "a student",
            "spec": SPEC,
            "spec_sha256": "0" * 64,
            "state": JobState.QUEUED,
            "pool": "default",
            "team": names[number % 3],
            "priority": (0, 0, 0, -1, 1)[number % 5],
            "gpus": (1, 1, 1, 2)[number % 4],
            "max_attempts": 3,
        }
        number += 1


def throughput(url: str, options: argparse.Namespace, share: Share) -> float:
    """Claims a second of all workers, who are shared out among processes."""
    each = -(-options.workers // options.processes)
    parts = [
        range(start, min(start + each, options.workers))
        for start in range(0, options.workers, each)
    ]
    context = multiprocessing.get_context("spawn")
    ready, counted = context.Barrier(len(parts) + 1), context.Queue()
    processes = [
        context.Process(target=run_part, args=(share, url, part, options.seconds, ready, counted))
        for part in parts
    ]
    for process in processes:
        process.start()
    ready.wait(60)
    begun = time.perf_counter()
    found = [counted.get(timeout=600) for _ in parts]
    for process in processes:
        process.join()
    return sum(claims for claims, _ in found) / (max(ended for _, ended in found) - begun)


def run_part(
    share: Share, url: str, part: range, seconds: float, ready: Barrier, counted: Queue
) -> None:
    """In a process: its workers as threads, each with a connection of its own, as the workers of
    many machines have; how many claims, and when it was done."""
    engines = [open_engine(url) for _ in part]
    with ThreadPoolExecutor(len(part)) as threads:
        list(threads.map(warm, engines))
        ready.wait(60)
        until = time.perf_counter() + seconds
        claims = sum(
            threads.map(
                lambda engine, number: share(SqlJobStore(engine, RULES), f"worker-{number}", until),
                engines,
                part,
            )
        )
    counted.put((claims, time.perf_counter()))
    for engine in engines:
        engine.dispose()


def warm(engine: Engine) -> None:
    """Open the connection and have the server prepare the statements, as a worker's are."""
    for _ in range(12):
        with writing(engine) as session:
            nobody = Offer("nobody", "default", ())
            _next(session, nobody, RULES)
            _take(session, NO_JOB, nobody, LEASE)


def fill(jobs: SqlJobStore, worker: str, _until: float) -> int:
    """Claim until all slots are taken."""
    free, claims = SLOTS, 0
    while free and (found := jobs.claim(Offer(worker, "default", free), LEASE)):
        free = tuple(device for device in free if device.slot not in found[0].slots)
        claims += 1
    return claims


def take_any(jobs: SqlJobStore, worker: str, _until: float) -> int:
    """As often as `fill` may: whatever job nobody else is taking, by the shortest way."""
    claims = 0
    for _ in SLOTS:
        with jobs._engine.begin() as connection:
            claims += connection.exec_driver_sql(TAKE_ANY, {"worker": worker}).rowcount
    return claims


def work(jobs: SqlJobStore, worker: str, until: float) -> int:
    """Claim, start and finish one job after another, for a while."""
    claims = 0
    while time.perf_counter() < until:
        found = jobs.claim(Offer(worker, "default", SLOTS), LEASE)
        if found is None:
            break
        jobs.started(found[1])
        jobs.finish(found[1], Reason.COMPLETED)
        claims += 1
    return claims


def decide(engine: Engine, free: tuple[Device, ...]) -> None:
    """Who is next, as a claim finds out, and nothing done about it."""
    with writing(engine) as session:
        _next(session, Offer("worker-0", "default", free), RULES)
        session.rollback()


def large_first(engine: Engine) -> None:
    """Before all others a job that needs a whole worker: the rest has to go around it."""
    first = "(SELECT min(id) FROM jobs WHERE state = 'queued')"
    change(engine, "UPDATE jobs SET priority = 0 WHERE state = 'queued' AND priority = 1")
    change(engine, f"UPDATE jobs SET gpus = 8, priority = 1 WHERE id = {first}")


def large_only(engine: Engine) -> None:
    """Every job needs a whole worker."""
    change(engine, "UPDATE jobs SET gpus = 8 WHERE state = 'queued'")


def change(engine: Engine, statement: str) -> None:
    """Change jobs, and leave the tables as tidy as the server's own vacuum would."""
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.exec_driver_sql(statement)
        connection.exec_driver_sql("VACUUM ANALYZE")


def milliseconds(step: Callable[[], object], times: int) -> list[float]:
    """How long each of several goes took."""
    taken = []
    for _ in range(times):
        begun = time.perf_counter()
        step()
        taken.append(1e3 * (time.perf_counter() - begun))
    return taken


def p95(values: list[float]) -> float:
    return sorted(values)[int(0.95 * (len(values) - 1))]


def spread(values: list[float]) -> str:
    return f"{statistics.median(values):.0f} ({min(values):.0f} to {max(values):.0f})"


if __name__ == "__main__":
    main()
