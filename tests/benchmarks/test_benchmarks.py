"""The benchmarks run, and what they measure is true; no times are looked at."""

from __future__ import annotations

from argparse import Namespace

import pytest

from pgd_core.jobs.job import LEASED_STATES
from pgd_core.store import SqlJobStore, open_engine
from tests.benchmarks import bench_claims, bench_fairness, bench_live, bench_start
from tests.benchmarks.tables import markdown

OPTIONS = Namespace(workers=3, processes=2, seconds=0.2, repeats=1, decisions=2)


def test_a_table_is_markdown():
    assert markdown(("a", "b"), [("x", 1)]) == "| a | b |\n| :-- | --: |\n| x | 1 |"


def test_workers_of_several_processes_fill_their_slots_and_no_slot_twice():
    url = bench_claims.prepared(60, 3)
    assert bench_claims.throughput(url, OPTIONS, bench_claims.fill) > 0
    engine = open_engine(url)
    jobs = SqlJobStore(engine).list(limit=100)
    engine.dispose()

    held = [(job.worker, slot) for job in jobs if job.state in LEASED_STATES for slot in job.slots]
    assert len(held) == len(set(held))
    assert len(held) >= 3 * 8 - 1  # the last may be kept for a job of two


def test_plain_claims_are_as_many_as_there_are_slots_and_of_different_jobs():
    url = bench_claims.prepared(60, 3)
    bench_claims.throughput(url, OPTIONS, bench_claims.take_any)
    engine = open_engine(url)
    jobs = SqlJobStore(engine).list(limit=100)
    engine.dispose()

    assert sum(job.state in LEASED_STATES for job in jobs) == 3 * 8


def test_every_figure_of_claims_can_be_measured():
    assert len(bench_claims.measure(60, OPTIONS)) == len(bench_claims.HEAD)


def test_a_simulated_week_is_shared_by_the_weights():
    found = bench_fairness.shares(gpus=1, jobs=60, seed=0)

    assert sum(found.values()) == pytest.approx(1)
    assert bench_fairness.error(found) < 0.25  # of so few jobs


def test_a_late_team_is_served_first():
    [first, day] = bench_fairness.late_comer(1, 0, [(0.0, 1.0), (0.0, 6.0)])

    assert first > 0.2
    assert day > 0.2


def test_figures_are_the_median_and_the_tail():
    assert bench_start.figures([float(n) for n in range(1, 21)]) == [
        "10.50",
        "19.00",
        "1.00",
        "20.00",
    ]


def test_many_who_poll_and_listen_can_be_measured_and_lose_nothing():
    options = Namespace(pollers=6, every=0.2, listeners=4, keys=2, seconds=3.0, warm_up=0.0)
    row = dict(zip(bench_live.HEAD, bench_live.measure("sqlite", options), strict=True))

    assert int(row["lines sent to all"]) > 0
    assert row["lost or out of order"] == "0"
