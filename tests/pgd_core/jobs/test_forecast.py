"""The queue as it will be served: positions, reasons, words."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from pgd_core.jobs.forecast import MOST_STARTS, Pool, WaitReason, forecast
from pgd_core.jobs.scheduling import in_order
from tests.pgd_core.jobs.pools import any_job, any_machine, machine, runs, use, waits

TEAMS = {"a": use("a")}


def pool(machines=(), waiting=(), teams=TEAMS, durations=None, troubles=None):
    return Pool("gpu", teams, machines, waiting, durations or {}, troubles or {})


def reasons(*arguments, **options):
    return {place.job: place.reason for place in forecast(pool(*arguments, **options))}


def test_nobody_waits_in_an_empty_pool():
    assert forecast(pool()) == []


def test_teams_take_turns_by_their_weights():
    teams = {"a": use("a", weight=1), "b": use("b", weight=2.1)}
    jobs = [waits(f"a{n}", team="a") for n in range(3)] + [
        waits(f"b{n}", team="b") for n in range(4)
    ]

    order = [place.job for place in forecast(pool([], jobs, teams))]

    # Shares of a: 0, 60, 120; of b: 0, 28.6, 57.1, 85.7.
    assert order == ["a0", "b0", "b1", "b2", "a1", "b3", "a2"]


def test_long_jobs_count_for_more():
    teams = {"a": use("a"), "b": use("b")}
    jobs = [
        waits("a0", kind="distill"),
        waits("a1", kind="distill"),
        *(waits(f"b{n}", team="b") for n in range(3)),
    ]

    durations = {"distill": 1000.0, "train": 300.0}
    order = [place.job for place in forecast(pool([], jobs, teams, durations))]

    assert order == ["a0", "b0", "b1", "b2", "a1"]


@pytest.mark.parametrize("seed", range(100))
def test_positions_count_from_one_and_the_order_is_that_of_claims_one_by_one(seed):
    rng = random.Random(seed)
    teams = {name: use(name, rng.uniform(0, 300), rng.randint(0, 3), rng.choice([1, 2, 0.3]))
             for name in "abc"}  # fmt: skip
    jobs = [any_job(rng, f"{number:03}") for number in range(30)]
    jobs.sort(key=lambda job: (-job.priority, job.id))
    places = forecast(pool([], jobs, teams))

    assert [place.position for place in places] == list(range(1, 31))
    left = list(jobs)
    for place in places:  # a plain reference: the first in order, which then runs
        first = in_order(left, teams)[0]
        assert place.job == first.id
        left.remove(first)
        before = teams[first.team]
        running = before.running_gpus + first.needs.gpus
        teams[first.team] = replace(before, running_gpus=running)


# Reasons


def test_without_a_worker_there_is_none():
    [place] = forecast(pool([], [waits("1")]))

    assert (place.reason, place.starts_in_s) == (WaitReason.NO_WORKER, None)
    assert place.message == "no worker serves pool 'gpu'; start one"


def test_what_no_worker_has_is_too_large():
    [place] = forecast(pool([machine("w", [24, 80])], [waits("1", 2, 48)]))

    assert place.reason is WaitReason.TOO_LARGE
    assert "has 2 GPUs of 48 MiB" in place.message


def test_drained_and_troubled_workers_are_named():
    full = machine("x", 1)
    machines = [
        machine("w", 1, draining=True),
        replace(full, devices=(), out_of_use=full.devices),
    ]
    [place] = forecast(pool(machines, [waits("1")], troubles={"x": "the disk is full"}))

    assert place.reason is WaitReason.WORKER_TROUBLE
    assert place.message == "w is draining; x: the disk is full"


def test_a_taken_pool_is_full():
    busy = machine("w", 1, runs("r", "w", [0], 100.0))
    [place] = forecast(pool([busy], [waits("1")]))

    assert (place.reason, place.starts_in_s) == (WaitReason.POOL_FULL, 100)


def test_only_as_many_are_next_as_there_is_room_for():
    found = reasons([machine("w", 2)], [waits("1"), waits("2"), waits("3")])

    assert found == {"1": "next", "2": "next", "3": "pool_full"}


def test_those_before_count_towards_the_team_s_limit():
    teams = {"a": use("a", limit=1), "b": use("b")}
    jobs = [waits("1"), waits("2"), waits("3", team="b")]

    assert reasons([machine("w", 4)], jobs, teams) == {"1": "next", "2": "team_limit", "3": "next"}


def test_a_team_s_smaller_job_waits_behind_its_larger_one_at_the_limit():
    teams = {"a": use("a", running=1, limit=2)}

    found = reasons([machine("w", 4)], [waits("1", 2), waits("2")], teams)

    assert found == {"1": "team_limit", "2": "team_limit"}


def test_gpus_are_kept_for_a_larger_job_on_its_worker_only():
    kept = machine("kept", 2, runs("r", "kept", [0], 10.0))
    other = machine("other", 1)

    found = reasons([kept, other], [waits("big", 2), waits("s1"), waits("s2")])

    assert found == {"big": "pool_full", "s1": "next", "s2": "reserved"}


def test_a_short_job_is_let_past():
    here = machine("w", 2, runs("r", "w", [0], 100.0))
    jobs = [waits("big", 2, kind="train"), waits("long", kind="distill"), waits("short", kind="ev")]

    found = reasons([here], jobs, durations={"distill": 500.0, "ev": 50.0})

    assert found == {"big": "pool_full", "long": "reserved", "short": "next"}


def test_a_job_that_can_never_start_keeps_nothing():
    found = reasons([machine("w", 1)], [waits("huge", 9), waits("small")])

    assert found == {"huge": "too_large", "small": "next"}


def test_far_down_the_queue_no_start_is_guessed():
    jobs = [waits(f"{n:04}") for n in range(MOST_STARTS + 1)]
    places = forecast(pool([machine("w", 1)], jobs, durations={"train": 1.0}))

    assert places[MOST_STARTS - 1].starts_in_s == MOST_STARTS - 1
    assert places[MOST_STARTS].starts_in_s is None


@pytest.mark.parametrize("seed", range(100))
def test_those_that_are_next_fit_all_at_once_and_within_their_limits(seed):
    rng = random.Random(seed)
    machines = [any_machine(rng, name) for name in "xyz"]
    teams = {name: use(name, limit=rng.choice([None, 2, 4])) for name in "abc"}
    jobs = sorted((any_job(rng, f"{n:03}") for n in range(15)), key=lambda j: (-j.priority, j.id))
    by_id = {job.id: job for job in jobs}

    found = reasons(machines, jobs, teams)

    following = [by_id[job] for job, reason in found.items() if reason is WaitReason.NEXT]
    free = [device for each in machines for device in each.free]
    assert sum(job.needs.gpus for job in following) <= len(free)
    for name, limit in ((name, each.max_running_gpus) for name, each in teams.items()):
        if limit is not None:
            assert sum(job.needs.gpus for job in following if job.team == name) <= limit
