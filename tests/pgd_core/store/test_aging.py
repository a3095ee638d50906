"""A job of class low does not wait for ever."""

from __future__ import annotations

from datetime import timedelta

from pgd_core.jobs.machine import Placement, Priority
from pgd_core.jobs.scheduling import SchedulingRules
from pgd_core.store import SqlQueue


def test_a_low_job_that_has_waited_too_long_becomes_normal_and_says_so(engine, jobs, spec):
    low = jobs.submit(spec, Placement(priority=Priority.LOW))
    high = jobs.submit(spec, Placement(priority=Priority.HIGH))
    assert SqlQueue(engine).raise_old() == []

    impatient = SqlQueue(engine, SchedulingRules(low_waits=timedelta(seconds=-1)))
    [raised] = impatient.raise_old()

    assert (raised.id, raised.priority) == (low.id, Priority.NORMAL)
    assert jobs.get(high.id).priority is Priority.HIGH
    told = jobs.events(low.id)[-1]
    assert (told.kind, told.by) == ("changed", "scheduler")
    assert told.data == {"priority": {"from": -1, "to": 0}}
    assert impatient.raise_old() == []


def test_a_paused_job_is_left_as_it_is(engine, jobs, spec):
    job = jobs.submit(spec, Placement(priority=Priority.LOW))
    jobs.pause(job.id)

    assert SqlQueue(engine, SchedulingRules(low_waits=timedelta(seconds=-1))).raise_old() == []
