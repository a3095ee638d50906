"""How long a machine in trouble claims nothing."""

from __future__ import annotations

import pytest

from worker.rest import Rests


class Clock:
    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def rests(clock):
    return Rests(clock)


def rest_s(rests, clock, slot=0):
    """How long the device rests from now on; the clock goes on to its end."""
    began = clock.now
    while rests.troubles([slot]):
        clock.now += 1
    return clock.now - began


def test_each_rest_in_a_row_is_twice_as_long_up_to_five_minutes(rests, clock):
    lengths = []
    for _ in range(9):
        rests.begin([0], "the storage is away")
        lengths.append(rest_s(rests, clock))

    assert lengths == [5, 10, 20, 40, 80, 160, 300, 300, 300]


def test_a_machine_that_is_in_trouble_for_years_still_rests_five_minutes(rests, clock):
    for _ in range(2000):  # two to that power is no number any more
        rests.begin([0], "the storage is away")
        clock.now += 301
    rests.begin([0], "the storage is away")

    assert rest_s(rests, clock) == 300


def test_after_a_success_the_next_rest_is_short_again(rests, clock):
    for _ in range(3):
        rests.begin([0, 1], "the storage is away")
        clock.now += 100
    rests.end([0])
    rests.begin([0, 1], "the storage is away")

    assert rest_s(rests, clock, slot=0) == 5
    clock.now -= 5
    assert rest_s(rests, clock, slot=1) == 40


def test_a_success_ends_the_rest_itself(rests):
    rests.begin([0], "the storage is away")
    rests.end([0])

    assert rests.troubles([0]) == {}


def test_many_jobs_that_break_at_once_begin_one_rest(rests, clock):
    for _ in range(8):
        rests.begin([0, 1], "the storage is away")
        clock.now += 0.5

    assert rest_s(rests, clock) == 1


def test_it_is_told_of_those_that_rest_why_and_for_how_long(rests, clock):
    rests.begin([1], "the storage\ns3://b is away " + 1000 * "x")
    clock.now += 5
    rests.begin([1], "the storage\ns3://b is away " + 1000 * "x")

    told = rests.troubles([0, 1, 2])
    assert list(told) == [1]
    assert told[1].startswith("the storage s3://b is away xxx")
    assert told[1].endswith("(nothing is claimed for 10 s; 2 in a row)")
    assert len(told[1]) < 400
