"""`python -m tests.chaos`: a long run under random faults, and a report of what came of it."""

from __future__ import annotations

import argparse
import random
import signal
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path

from pgd_core.jobs.job import FINAL_STATES, Job, JobState
from pgd_core.store import migrate
from tests.chaos.faults import WANTED, Faults, processes_of
from tests.chaos.people import TEAMS, People
from tests.chaos.report import Report, write
from tests.end_to_end.faults.service import SETTINGS, Service, own_redis, wait_for
from tests.end_to_end.faults.trainer import Plan
from tests.end_to_end.faults.verdict import problems
from tests.servers import PostgresServer

LEASE_S = 4.0
OURS = {
    "PGD_LEASE_S": str(LEASE_S),
    "PGD_HEARTBEAT_S": "0.4",
    "PGD_RECONCILE_S": "1",
    "PGD_SLOTS": "2",
    "PGD_MAX_ATTEMPTS": "1000",  # a job fails for a reason of its own, or not at all
}
MUST_NOT_BE = (
    "lost",
    "failed",
    "run twice at once",
    "left running",
    "wrong checksums",
    "wrong results",
    "lost work",
    "broken histories",
    "files left",
    "processes left",
    "slots not free",
)
SETTLE_S = 300.0
REPORT = Path(__file__).resolve().parents[2] / "docs" / "reliability.md"


def main() -> int:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # and nothing is left behind
    options = _options()
    report = Report(options.seed, options.minutes)
    folder = Path(tempfile.mkdtemp(prefix="pgd-chaos-"))
    postgres = PostgresServer()
    url = postgres.new_database()
    migrate(url)
    with own_redis() as redis:
        service = Service(folder, url, redis, SETTINGS | OURS)
        try:
            _run(service, postgres, options.jobs, report)
        finally:
            service.close()
            service.redis.stop()
    sys.stdout.write(f"{report.markdown()}\n\nlogs and files: {folder}\n")
    write(report, options.report)
    return 0 if report.passed else 1


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--jobs", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--report", type=Path, default=REPORT)
    return parser.parse_args()


def _run(service: Service, postgres: PostgresServer, jobs: int, report: Report) -> None:
    for team, weight in TEAMS.items():
        service.teams.put(team, weight=weight, max_running_gpus=None, max_queued_jobs=None)
    for kind, (count, command) in WANTED.items():
        for _ in range(count):
            service.start(kind, command)
    rng = random.Random(report.seed)
    faults = Faults(service, postgres, rng, LEASE_S)
    people = People(service, random.Random(report.seed + 1))
    began = time.monotonic()
    callers = people.begin(jobs, 0.9 * 60 * report.asked_minutes)
    _break_things(faults, began + 60 * report.asked_minutes)
    faults.heal()
    report.took_s = time.monotonic() - began
    _settle(service, faults, callers)
    report.settled_s = time.monotonic() - began - report.took_s
    report.faults, report.restarts, report.asked = faults.done, faults.restarts, people.asked
    _judge(service, people, report)


def _break_things(faults: Faults, until: float) -> None:
    next_at = time.monotonic() + 3.0
    while time.monotonic() < until:
        faults.look()
        if time.monotonic() >= next_at:
            faults.one()
            next_at = time.monotonic() + faults.random.uniform(1.0, 2.0)
        time.sleep(0.05)


def _settle(service: Service, faults: Faults, callers: object) -> None:
    """Until everybody has been answered and every job has ended, or patience has."""
    deadline = time.monotonic() + SETTLE_S
    while time.monotonic() < deadline:
        faults.look()
        answered = not callers.is_alive()  # type: ignore[attr-defined]
        if answered and all(job.state in FINAL_STATES for job in _all_jobs(service)):
            return
        time.sleep(0.2)


def _all_jobs(service: Service) -> list[Job]:
    found: list[Job] = []
    while True:
        page = service.jobs.list(after=found[-1].id if found else None, limit=200)
        if not page:
            return found
        found += page


def _judge(service: Service, people: People, report: Report) -> None:
    wrong: dict[str, list[str]] = defaultdict(list, {kind: [] for kind in MUST_NOT_BE})
    jobs = _all_jobs(service)
    stored = {job.id for job in jobs}
    if len(people.ids) < people.wanted:
        wrong["lost"].append(f"{people.wanted - len(people.ids)} were never taken")
    wrong["lost"] += [key for key, job_id in people.ids.items() if job_id not in stored]
    wrong["lost"] += [
        f"{job.id} was never asked for" for job in jobs if job.id not in set(people.ids.values())
    ]
    wrong["lost"] += [f"{job.id} is {job.state}" for job in jobs if job.state not in FINAL_STATES]
    wrong["failed"] += [
        f"{j.id}: {j.reason} {j.message}" for j in jobs if j.state is JobState.FAILED
    ]
    wrong["processes left"] += [f"process {pid}" for pid in processes_of(service)]
    wrong["slots not free"] += _slots_not_free(service)
    service.sweep_later()
    for job in jobs:
        for kind, told in problems(service, job).items():
            wrong[kind] += told
    report.jobs, report.wrong = jobs, wrong


def _slots_not_free(service: Service) -> list[str]:
    """A job for each slot: all of them run at once, or a slot is held by nobody."""
    workers, _ = WANTED["worker"]
    probes = [service.submit(Plan(steps=600, step_s=0.1, tag=n)) for n in range(2 * workers)]
    try:
        wait_for(lambda: all(service.get(probe).state == "running" for probe in probes))
        return []
    except AssertionError:
        return [
            f"{p.id} is {service.get(p).state}" for p in probes if service.get(p).state != "running"
        ]
    finally:
        for probe in probes:
            service.jobs.cancel(probe.id, by="chaos")
            service.until_ended(probe)


if __name__ == "__main__":
    sys.exit(main())
