"""Whether teams get the GPU time that their weights say, by the real store on a clock that is set.

    python -m tests.benchmarks.bench_fairness [--jobs 1000] [--seeds 0 1 2]

Three teams of weights 1:1:2 have endless jobs of five minutes to five hours on one worker with 1, 4
and 8 GPUs; on several GPUs jobs of several, and of one team larger ones than of the others. Then a
fourth team joins after a day. Time passes by shifting the times in the database.
"""

from __future__ import annotations

import argparse
import math
import random
import sys
import tempfile
from collections import Counter
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from sqlalchemy import select, update

from pgd_core.jobs.job import LEASED_STATES, Claim, Reason
from pgd_core.jobs.machine import Device, Needs, Offer, Placement, Worker
from pgd_core.jobs.spec import BackboneSpec, DetectorSpec, TrainJob
from pgd_core.store import SqlJobStore, SqlTeamStore, SqlWorkerStore, open_engine
from pgd_core.store.engine import writing
from pgd_core.store.tables import JobRow, TeamRow
from tests.benchmarks.tables import markdown
from tests.servers import sqlite_url

WEIGHTS = {"a": 1.0, "b": 1.0, "c": 2.0}
HOUR_S = 3600.0
LEASE = timedelta(days=1000)
# How often a job asks for so many GPUs; team "b" has the large ones.
SIZES = {1: {"": {1: 1}}, 4: {"": {1: 8, 2: 2}, "b": {1: 2, 2: 1, 4: 1}},
         8: {"": {1: 6, 2: 3, 4: 1}, "b": {1: 2, 4: 2, 8: 1}}}  # fmt: skip


@dataclass(frozen=True)
class Stretch:
    """A job that held GPUs."""

    team: str
    gpus: int
    start_s: float
    end_s: float


class Cluster:
    """One worker, its queue, and a clock."""

    def __init__(self, folder: Path, gpus: int, seed: int) -> None:
        self._engine = open_engine(sqlite_url(folder))
        self._jobs = SqlJobStore(self._engine)
        self._teams = SqlTeamStore(self._engine)
        self._random = random.Random(seed)
        self._gpus = gpus
        self._devices = tuple(Device(slot, "GPU", "", 0) for slot in range(gpus))
        SqlWorkerStore(self._engine).announce(Worker("w", "h", 1, "default", self._devices, {}))
        self._queued: Counter[str] = Counter()
        self._running: list[tuple[float, Claim, tuple[int, ...], str, float]] = []
        self.now_s = 0.0
        self.past: list[Stretch] = []

    def join(self, team: str, weight: float) -> None:
        self._teams.put(team, weight=weight, max_running_gpus=None, max_queued_jobs=None)
        self._queued[team] = 0

    def step(self) -> None:
        """Start what can start, and go on to the next end of a job."""
        for team in self._queued:
            while self._queued[team] < 4:
                self._submit(team)
        while self._start():
            pass
        ends_s, claim, slots, team, start_s = min(self._running, key=lambda job: job[0])
        self._pass(ends_s - self.now_s)
        self._running = [job for job in self._running if job[1] is not claim]
        self._jobs.finish(claim, Reason.COMPLETED)
        self.past.append(Stretch(team, len(slots), start_s, ends_s))

    def used(self, start_s: float, end_s: float) -> Counter[str]:
        """GPU time by team in a stretch of time, of what ended and what runs."""
        used: Counter[str] = Counter()
        running = [Stretch(t, len(s), start, self.now_s) for _, _, s, t, start in self._running]
        for job in [*self.past, *running]:
            used[job.team] += job.gpus * max(0.0, min(end_s, job.end_s) - max(start_s, job.start_s))
        return used

    def close(self) -> None:
        self._engine.dispose()

    def _submit(self, team: str) -> None:
        sizes = SIZES[self._gpus].get(team, SIZES[self._gpus][""])
        [gpus] = self._random.choices(list(sizes), list(sizes.values()))
        self._jobs.submit(SPEC, Placement("default", team, needs=Needs(gpus)))
        self._queued[team] += 1

    def _start(self) -> bool:
        held = {slot for _, _, slots, *_ in self._running for slot in slots}
        free = tuple(device for device in self._devices if device.slot not in held)
        taken = self._jobs.claim(Offer("w", "default", free), LEASE)
        if taken is None:
            return False
        job, claim = taken
        self._jobs.started(claim)
        lasts_s = math.exp(self._random.uniform(math.log(300), math.log(5 * HOUR_S)))
        self._running.append((self.now_s + lasts_s, claim, job.slots, job.team, self.now_s))
        self._queued[job.team] -= 1
        return True

    def _pass(self, seconds: float) -> None:
        """As if so much time went by: what counts from a time in the past counts more."""
        by = timedelta(seconds=seconds)
        self.now_s += seconds
        running = select(JobRow.id, JobRow.claimed_at).where(JobRow.state.in_(LEASED_STATES))
        with writing(self._engine) as session:
            for id, claimed_at in session.execute(running).all():
                then = update(JobRow).where(JobRow.id == id)
                session.execute(then.values(claimed_at=claimed_at - by))
            for name, used_at in session.execute(select(TeamRow.name, TeamRow.used_at)).all():
                then = update(TeamRow).where(TeamRow.name == name)
                session.execute(then.values(used_at=used_at - by))


SPEC = TrainJob(
    kind="train",
    name="a student",
    dataset="digits",
    model=DetectorSpec(detector="fcos", backbone=BackboneSpec(name="resnet18")),
)


def shares(gpus: int, jobs: int, seed: int) -> dict[str, float]:
    """Of three teams with endless jobs, each one's part of the GPU time."""
    with tempfile.TemporaryDirectory(prefix="pgd-fair-") as folder:
        cluster = Cluster(Path(folder), gpus, seed)
        for team, weight in WEIGHTS.items():
            cluster.join(team, weight)
        while len(cluster.past) < jobs:
            cluster.step()
        used = cluster.used(0, cluster.now_s)
        cluster.close()
    return {team: used[team] / used.total() for team in WEIGHTS}


def late_comer(gpus: int, seed: int, windows: list[tuple[float, float]]) -> list[float]:
    """The part of the GPU time of a team of weight 1 that joins the three after a day, by hours
    after it joined."""
    with tempfile.TemporaryDirectory(prefix="pgd-fair-") as folder:
        cluster = Cluster(Path(folder), gpus, seed)
        for team, weight in WEIGHTS.items():
            cluster.join(team, weight)
        while cluster.now_s < 24 * HOUR_S:
            cluster.step()
        cluster.join("late", 1.0)
        joined_s = cluster.now_s
        while cluster.now_s < joined_s + windows[-1][1] * HOUR_S:
            cluster.step()
        used = [cluster.used(joined_s + a * HOUR_S, joined_s + b * HOUR_S) for a, b in windows]
        cluster.close()
    return [each["late"] / each.total() for each in used]


def error(found: dict[str, float]) -> float:
    """The largest departure of a team's part from what its weight says, of that."""
    total = sum(WEIGHTS.values())
    return max(abs(part * total / WEIGHTS[team] - 1) for team, part in found.items())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--jobs", type=int, default=1_000)
    parser.add_argument("--gpus", type=int, nargs="+", default=[1, 4, 8])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    options = parser.parse_args()
    rows = []
    for gpus in options.gpus:
        found = [shares(gpus, options.jobs, seed) for seed in options.seeds]
        means = {team: sum(each[team] for each in found) / len(found) for team in WEIGHTS}
        parts = [f"{means[team]:.1%}" for team in WEIGHTS]
        rows.append((f"{gpus}", *parts, f"{max(error(each) for each in found):.1%}"))
    head = ("GPUs", "a (25 %)", "b (25 %)", "c (50 %)", "largest error of any seed")
    sys.stdout.write(f"{options.jobs} jobs, seeds {options.seeds}:\n\n{markdown(head, rows)}\n")
    windows = [(0.0, 1.0), (1.0, 4.0), (4.0, 8.0), (8.0, 24.0), (24.0, 72.0)]
    late = [
        (f"{gpus}", *(f"{sum(p) / len(p):.0%}" for p in zip(*found, strict=True)))
        for gpus in options.gpus
        for found in [[late_comer(gpus, seed, windows) for seed in options.seeds]]
    ]
    head = ("GPUs", *(f"hours {a:.0f} to {b:.0f}" for a, b in windows))
    sys.stdout.write(f"\nA fourth team's part (20 % is its due):\n\n{markdown(head, late)}\n")


if __name__ == "__main__":
    main()
