"""The order: shares, reservations, and whose GPUs a higher class may take."""

from __future__ import annotations

import itertools
import random
from datetime import timedelta

import pytest

from pgd_core.jobs.machine import Needs, chosen, fits
from pgd_core.jobs.scheduling import (
    LOOK_AHEAD_S,
    decayed,
    in_order,
    reservation,
    victims,
    within_limits,
)
from tests.pgd_core.jobs.pools import any_job, any_machine, machine, runs, use, waits

HOUR = timedelta(hours=1)
SEEDS = range(300)


def ids(jobs):
    return [job.id for job in jobs]


# Shares


def test_used_time_counts_half_after_each_half_life():
    assert decayed(800, 0 * HOUR, 24 * HOUR) == 800
    assert decayed(800, 24 * HOUR, 24 * HOUR) == 400
    assert decayed(800, 72 * HOUR, 24 * HOUR) == 100
    assert decayed(800, 36 * HOUR, 24 * HOUR) == pytest.approx(800 * 2**-1.5)


def test_a_long_half_life_forgets_nothing_and_a_short_one_everything():
    assert decayed(800, 24 * HOUR, 10**7 * HOUR) == pytest.approx(800, rel=1e-5)
    assert decayed(800, 24 * HOUR, HOUR / 60) < 1e-9


def test_a_clock_that_went_back_adds_no_use():
    assert decayed(800, -HOUR, 24 * HOUR) == 800


def test_decay_in_two_steps_is_decay_in_one():
    twice = decayed(decayed(800, 5 * HOUR, 24 * HOUR), 7 * HOUR, 24 * HOUR)
    assert twice == pytest.approx(decayed(800, 12 * HOUR, 24 * HOUR))


def test_a_share_is_use_by_weight_and_what_runs_counts_a_little():
    assert use(used=600, running=2, weight=2).share == (600 + 2 * LOOK_AHEAD_S) / 2
    assert use(used=0, running=0, weight=0.1).share == 0


def test_a_limit_is_of_gpus_that_run_at_once():
    assert use(running=2, limit=4).allows(2)
    assert not use(running=2, limit=4).allows(3)
    assert use(running=1000, limit=None).allows(1000)


# Order


def test_class_goes_before_share_and_share_before_age():
    teams = {"a": use("a", used=100), "b": use("b", used=50), "c": use("c", used=101, weight=2)}
    jobs = [
        waits("1", team="a"),
        waits("2", team="b", priority=-1),
        waits("3", team="b"),
        waits("4", team="a", priority=1),
        waits("5", team="c"),
        waits("6", team="b"),
    ]

    assert ids(in_order(jobs, teams)) == ["4", "3", "6", "5", "1", "2"]


def test_of_teams_that_used_the_same_the_one_that_runs_less_is_next():
    teams = {"a": use("a", used=100, running=2), "b": use("b", used=100, running=1)}

    assert ids(in_order([waits("1", team="a"), waits("2", team="b")], teams)) == ["2", "1"]


@pytest.mark.parametrize("seed", SEEDS[:50])
def test_the_order_is_total_however_the_jobs_arrive(seed):
    rng = random.Random(seed)
    teams = {name: use(name, used=rng.choice([0, 5, 10])) for name in "abc"}
    jobs = [any_job(rng, f"{number:03}") for number in range(20)]
    expected = in_order(jobs, teams)

    for _ in range(3):
        rng.shuffle(jobs)
        assert in_order(jobs, teams) == expected


def test_a_team_s_smaller_jobs_do_not_overtake_the_one_that_waits_for_its_limit():
    teams = {"a": use("a", running=3, limit=4), "b": use("b")}
    jobs = [
        waits("1", priority=1),
        waits("2", gpus=2),
        waits("3"),
        waits("4", team="b"),
        waits("5", priority=-1),
    ]

    now, blocked = within_limits(jobs, teams)

    assert ids(now) == ["1", "4"]
    assert blocked == {"a": 0}


# Reservations


def test_a_job_is_kept_the_worker_on_which_it_can_start_soonest():
    slow = machine("slow", 4, runs("r", "slow", [0, 1, 2], 500))
    soon = machine("soon", 4, runs("s", "soon", [0, 1], 100), runs("t", "soon", [2], 60))

    kept = reservation(waits("big", 3), [slow, soon])

    assert (kept.worker, kept.starts_in_s, kept.spare_gpus) == ("soon", 100, 1)


def test_what_was_asked_to_stop_counts_as_ended():
    here = machine("w", 2, runs("r", "w", [0], None, stopping=True), runs("s", "w", [1], 70))

    assert reservation(waits("big", 2), [here]).starts_in_s == 70
    assert reservation(waits("small", 1), [here]).starts_in_s == 0


def test_where_no_end_is_known_the_worker_that_is_nearest_is_kept_and_has_nothing_to_spare():
    half = machine("half", 4, runs("r", "half", [0, 1]))
    full = machine("a-full", 4, runs("s", "a-full", [0, 1, 2, 3]))

    kept = reservation(waits("big", 3), [full, half])

    assert (kept.worker, kept.starts_in_s, kept.spare_gpus) == ("half", None, 0)
    assert not kept.in_time(0.0)


def test_a_known_end_is_preferred_to_an_unknown_one():
    known = machine("z", 2, runs("r", "z", [0, 1], 10_000))
    unknown = machine("a", 2, runs("s", "a", [0]))

    assert reservation(waits("big", 2), [unknown, known]).worker == "z"


def test_no_worker_is_kept_that_drains_or_is_too_small():
    draining = machine("d", 4, draining=True)
    small = machine("s", [80, 80, 24, 24])

    assert reservation(waits("big", 3, 80), [draining, small]) is None
    assert reservation(waits("big", 3, 80), []) is None


def test_devices_that_the_large_job_cannot_use_stay_everybody_s():
    here = machine("w", [80, 80, 24, 24], runs("r", "w", [0], 100))
    kept = reservation(waits("big", 2, 80), [here])

    room = kept.room(here.free)

    assert kept.spare_gpus == 0
    assert [waits("s", gpus, memory).needs for gpus, memory in [(1, 0), (2, 24), (1, 25), (3, 0)]
            if any(Needs(gpus, memory).within(most) for most in room)] == [
        Needs(1, 0), Needs(2, 24)]  # fmt: skip


def test_mig_instances_stay_everybody_s_beside_a_job_that_needs_whole_gpus():
    here = machine("w", [80, 80, 24, 24, 96], runs("r", "w", [0], 100), mig=[2, 3, 4])
    kept = reservation(waits("big", 2), [here])

    room = kept.room(here.free)

    assert [needs for needs in (Needs(1), Needs(1, 24), Needs(1, 25), Needs(2))
            if any(needs.within(most) for most in room)] == [Needs(1), Needs(1, 24)]  # fmt: skip


def test_what_ends_in_time_may_go_first():
    kept = reservation(waits("big", 2), [machine("w", 2, runs("r", "w", [0], 100))])

    assert kept.in_time(100)
    assert not kept.in_time(100.1)
    assert not kept.in_time(None)


def start_s(job, here, added=()):
    """A plain reference: the first moment at which enough devices are free, as jobs end."""
    running = [*here.running, *added]
    ends = {0.0} | {0.0 if r.stopping else r.ends_in_s for r in running}
    for moment in sorted(end for end in ends if end is not None):
        held = {
            slot
            for r in running
            if not r.stopping and (r.ends_in_s is None or r.ends_in_s > moment)
            for slot in r.slots
        }
        if fits(job.needs, [device for device in here.devices if device.slot not in held]):
            return moment
    return None


@pytest.mark.parametrize("seed", SEEDS)
def test_a_job_that_is_let_past_never_delays_the_one_for_which_the_worker_is_kept(seed):
    rng = random.Random(seed)
    machines = [any_machine(rng, name) for name in "xyz"]
    big = any_job(rng, "big")
    kept = reservation(big, machines)
    if kept is None:
        return
    here = next(m for m in machines if m.name == kept.worker)
    assert kept.starts_in_s == start_s(big, here)
    if fits(big.needs, here.free):
        return  # it starts now: nobody is let past
    for number in range(30):
        small = any_job(rng, f"small-{number}")
        lasts_s = rng.uniform(0, 120)
        free = here.free
        lets = kept.in_time(lasts_s) or any(small.needs.within(most) for most in kept.room(free))
        if not fits(small.needs, free) or not lets:
            continue
        end_s = lasts_s if kept.in_time(lasts_s) else rng.choice([None, 10.0**6])
        slots = [device.slot for device in chosen(small.needs, free)]
        passed = runs(small.id, here.name, slots, end_s)
        assert start_s(big, here, [passed]) == kept.starts_in_s


# Making room


def test_the_lowest_class_goes_first_and_of_it_who_started_last():
    here = machine(
        "w",
        3,
        runs("old-low", "w", [0], priority=-1, minutes=60),
        runs("new-low", "w", [1], priority=-1, minutes=5),
        runs("normal", "w", [2], priority=0, minutes=1),
    )

    assert ids(victims(waits("h", 1, priority=1), [here])) == ["new-low"]
    assert ids(victims(waits("h", 2, priority=1), [here])) == ["new-low", "old-low"]
    assert ids(victims(waits("h", 3, priority=1), [here])) == ["new-low", "old-low", "normal"]
    assert ids(victims(waits("n", 1, priority=0), [here])) == ["new-low"]
    assert victims(waits("n", 3, priority=0), [here]) == ()
    assert victims(waits("l", 1, priority=-1), [here]) == ()


def test_nobody_is_stopped_where_there_is_room_or_will_be():
    busy = machine("busy", 1, runs("r", "busy", [0], priority=-1))
    job = waits("h", priority=1)

    assert victims(job, [busy, machine("idle", 1)]) == ()
    stopping = machine("s", 1, runs("t", "s", [0], priority=-1, stopping=True))
    assert victims(job, [busy, stopping]) == ()
    assert victims(job, []) == ()


def test_a_draining_worker_s_jobs_are_left_alone():
    draining = machine("d", 1, runs("r", "d", [0], priority=-1), draining=True)

    assert victims(waits("h", priority=1), [draining]) == ()


def test_jobs_whose_devices_do_not_help_are_spared():
    here = machine(
        "w",
        [24, 80],
        runs("small", "w", [0], priority=-1, minutes=1),
        runs("large", "w", [1], priority=-1, minutes=9),
    )

    assert ids(victims(waits("h", 1, 80, priority=1), [here])) == ["large"]


def test_of_two_workers_the_smaller_loss_counts():
    normal = machine("normal", 1, runs("n", "normal", [0], priority=0))
    low = machine("low", 2, runs("l", "low", [0, 1], priority=-1, minutes=90))
    later = machine("later", 2, runs("m", "later", [0, 1], priority=-1, minutes=30))

    assert ids(victims(waits("h", 1, priority=1), [normal, low, later])) == ["m"]


@pytest.mark.parametrize("seed", SEEDS)
def test_victims_are_of_lower_class_on_one_worker_enough_and_none_too_many(seed):
    rng = random.Random(seed)
    machines = [any_machine(rng, name) for name in "xyz"]
    job = any_job(rng)
    found = victims(job, machines)

    def room_without(here, stopped):
        staying = [r for r in here.running if not r.stopping and r not in stopped]
        return not here.draining and fits(job.needs, here.without(staying))

    if any(room_without(here, ()) for here in machines):
        assert found == ()
        return
    possible = any(
        room_without(here, [r for r in here.running if r.priority < job.priority])
        for here in machines
    )
    assert bool(found) == possible
    if found:
        [here] = [m for m in machines if m.name == found[0].worker]
        assert {running.worker for running in found} == {here.name}
        assert all(r.priority < job.priority and not r.stopping for r in found)
        assert room_without(here, found)
        for fewer in itertools.combinations(found, len(found) - 1):
            assert not room_without(here, fewer)
