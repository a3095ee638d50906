"""Estimated starts."""

from __future__ import annotations

import random

import pytest

from pgd_core.jobs.starts import Starts
from tests.pgd_core.jobs.pools import any_job, any_machine, machine, runs, use, waits

TEAMS = {"a": use("a")}
MINUTE = {"train": 60.0}


def starts(machines, jobs, teams=TEAMS, durations=MINUTE):
    running = [job for each in machines for job in each.running]
    laid = Starts([m for m in machines if not m.draining], running, teams, durations)
    return [laid.of(job) for job in jobs]


def test_jobs_follow_each_other_on_one_device():
    here = machine("w", 1, runs("r", "w", [0], 30))

    assert starts([here], [waits("1"), waits("2"), waits("3")]) == [30, 90, 150]


def test_a_job_of_several_devices_waits_for_the_last_of_them():
    here = machine("w", 3, runs("r", "w", [0], 30), runs("s", "w", [1], 50))

    assert starts([here], [waits("1", 2), waits("2", 2)]) == [30, 90]


def test_the_worker_that_is_free_soonest_takes_it():
    machines = [machine("x", 1, runs("r", "x", [0], 30)), machine("y", 1, runs("s", "y", [0], 20))]

    assert starts(machines, [waits("1"), waits("2"), waits("3")]) == [20, 30, 80]


def test_only_devices_with_the_memory_count():
    here = machine("w", [24, 80], runs("r", "w", [1], 40))

    assert starts([here], [waits("1", 1, 80), waits("2")]) == [40, 0]


@pytest.mark.parametrize(
    ("machines", "job"),
    [
        ([], waits("1")),
        ([machine("w", 1)], waits("1", 2)),
        ([machine("w", 1, runs("r", "w", [0], None))], waits("1")),
        ([machine("w", 1, draining=True)], waits("1")),
    ],
)
def test_what_cannot_be_known_is_not_said(machines, job):
    assert starts(machines, [job]) == [None]


def test_after_a_job_of_unknown_length_nothing_is_said():
    assert starts([machine("w", 1)], [waits("1"), waits("2")], durations={}) == [0, None]


def test_a_job_waits_for_its_team_s_limit():
    here = machine("w", 4, runs("r", "w", [0], 45))
    teams = {"a": use("a", running=1, limit=1), "b": use("b")}

    jobs = [waits("1"), waits("2"), waits("3", team="b")]

    assert starts([here], jobs, teams) == [45, 105, 0]


def test_a_limit_that_was_lowered_counts_the_last_to_end():
    here = machine("w", 4, runs("r", "w", [0], 45), runs("s", "w", [1], 70))

    assert starts([here], [waits("1")], {"a": use("a", running=2, limit=1)}) == [70]


def test_a_limit_of_nothing_lets_nothing_start():
    here = machine("w", 4, runs("r", "w", [0], 45))

    assert starts([here], [waits("1")], {"a": use("a", running=1, limit=0)}) == [None]


@pytest.mark.parametrize("seed", range(20))
def test_a_limit_beyond_all_there_is_is_none(seed):
    rng = random.Random(seed)
    machines = [any_machine(rng, name) for name in "xyz"]
    jobs = [any_job(rng, str(number)) for number in range(12)]
    unlimited, limited = (
        {name: use(name, limit=limit) for name in "abc"} for limit in (None, 2**31 - 1)
    )

    assert starts(machines, jobs, limited) == starts(machines, jobs, unlimited)


@pytest.mark.parametrize("seed", range(100))
def test_what_was_worked_out_before_is_what_would_be_worked_out_anew(seed):
    rng = random.Random(seed)
    machines = [any_machine(rng, name) for name in "xyz"]
    jobs = [any_job(rng, str(number)) for number in range(12)]
    teams = {name: use(name, limit=rng.choice([None, 3])) for name in "abc"}
    kept = [job for job in jobs if job.needs.gpus <= 3]
    durations = {"train": 60.0, "distill": 35.0}

    together = starts(machines, kept, teams, durations)

    for count in range(1, len(kept) + 1):  # each prefix alone gives the same
        assert starts(machines, kept[:count], teams, durations) == together[:count]
