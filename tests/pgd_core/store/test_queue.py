"""The queue as people see it, and preemption."""

from __future__ import annotations

from datetime import timedelta

from pgd_core.jobs.forecast import WaitReason, forecast
from pgd_core.jobs.job import Reason, StopRequest
from pgd_core.jobs.scheduling import SchedulingRules
from pgd_core.store import SqlQueue

MINUTE = timedelta(minutes=1)


def asked(cluster):
    return [job.id for job in cluster.queue.preempt()]


# Looking


def test_pools_are_those_that_are_served_or_wanted(cluster):
    cluster.worker("w", pool="served")
    cluster.worker("gone", pool="left")
    cluster.workers.stopped("gone")
    cluster.submit(pool="wanted")
    cluster.jobs.cancel(cluster.submit(pool="cancelled"))

    assert cluster.queue.pools() == ["served", "wanted"]


def test_a_pool_knows_its_workers_their_jobs_and_who_waits(cluster):
    cluster.team("a", 2.0, running=7)
    cluster.worker("w", [80, 24])
    cluster.worker("x")
    cluster.workers.beat("x", {0: "the disk is full"})
    running = cluster.submit("a", priority=-1)
    cluster.run("w")
    cluster.pass_time(hours=1)
    low, high = cluster.submit("a", priority=-1), cluster.submit(priority=1)
    cluster.submit(pool="other")

    pool = cluster.queue.pool("default")

    assert [job.id for job in pool.waiting] == [high, low]
    assert [(m.name, len(m.devices), [r.id for r in m.running]) for m in pool.machines] == [
        ("w", 2, [running]),
        ("x", 0, []),
    ]
    assert pool.machines[0].running[0].slots == (1,)
    assert pool.troubles == {"x": "the disk is full"}
    use = pool.teams["a"]
    assert (use.weight, use.running_gpus, use.max_running_gpus) == (2.0, 1, 7)
    assert 3600 <= use.used_gpu_s < 3660


def test_a_study_waits_for_no_worker(cluster):
    cluster.submit(kind="study")

    assert cluster.queue.pools() == []
    assert cluster.queue.pool("default").waiting == []


def test_durations_are_those_of_jobs_that_succeeded_lately(cluster):
    cluster.worker("w", 2)
    for hours in (1, 3):
        cluster.submit(gpus=2)
        cluster.run_for("w", hours)
    cluster.submit()
    claim = cluster.run("w")
    cluster.pass_time(hours=50)
    cluster.jobs.finish(claim, Reason.DIVERGED)

    durations = cluster.queue.pool("default").durations
    assert durations.keys() == {"train"}
    assert 7200 <= durations["train"] < 7260


def test_why_a_job_waits_is_said_from_what_is_stored(cluster):
    cluster.team("a", running=1)
    cluster.worker("w", 2)
    cluster.submit("a")
    cluster.run("w")
    limited, huge, following = cluster.submit("a"), cluster.submit(gpus=3), cluster.submit()

    reasons = {place.job: place.reason for place in forecast(cluster.queue.pool("default"))}

    assert reasons == {
        limited: WaitReason.TEAM_LIMIT,
        huge: WaitReason.TOO_LARGE,
        following: WaitReason.NEXT,
    }


# Making room


def test_exactly_the_jobs_whose_gpus_are_needed_are_asked_and_once(cluster):
    cluster.worker("w", 4)
    for _ in range(4):
        cluster.submit(priority=-1)
    claims = []
    for _ in range(4):
        claims.append(cluster.run("w"))
        cluster.pass_time(hours=1)
    urgent = cluster.submit(gpus=2, priority=1)

    assert set(asked(cluster)) == {claims[3].job_id, claims[2].job_id}  # they lose least
    assert asked(cluster) == []

    victim = cluster.jobs.get(claims[3].job_id)
    assert victim.stop_requested is StopRequest.PREEMPT
    event = cluster.jobs.events(victim.id)[-1]
    assert (event.kind, event.by) == ("preempt_requested", "scheduler")
    assert event.data == {"why": f"job {urgent}, of class high, needs its GPUs"}


def test_a_preempted_job_loses_no_attempt_and_goes_on_before_younger_ones(cluster):
    cluster.worker("w")
    low = cluster.submit(priority=-1)
    claim = cluster.run("w")
    cluster.submit(priority=-1)
    urgent = cluster.submit(priority=1)
    assert asked(cluster) == [low]
    assert cluster.jobs.heartbeat(claim, MINUTE).stop is StopRequest.PREEMPT

    again = cluster.jobs.finish(claim, Reason.PREEMPTED)

    assert (again.state, again.failures, again.stop_requested) == ("queued", 0, None)
    assert cluster.run_for("w", hours=1) == urgent
    job, _ = cluster.claim("w")
    assert (job.id, job.attempt) == (low, 2)


def test_nobody_is_asked_for_a_job_of_the_same_class_or_while_there_is_room(cluster):
    cluster.worker("w", 2)
    cluster.submit()
    cluster.run("w")
    cluster.submit(priority=1)
    assert asked(cluster) == []  # a GPU is free

    cluster.run("w")
    cluster.submit(priority=0)
    assert asked(cluster) == []


def test_a_job_that_can_never_start_does_not_hide_one_that_can(cluster):
    cluster.team("a", running=1)
    cluster.team("b")
    cluster.worker("w")
    low = cluster.submit(priority=-1)
    cluster.run("w")
    cluster.submit("b", gpus=9, priority=1)  # no worker is so large
    cluster.submit("b", priority=1)

    assert asked(cluster) == [low]
    # What another team's job is called is not told in this one's history.
    told = cluster.jobs.events(low)[-1].data["why"]
    assert told == "a job of another team, of class high, needs its GPUs"


def test_a_job_that_waits_for_its_team_s_limit_makes_nobody_stop(cluster):
    cluster.team("a", running=2)
    cluster.worker("w", 2)
    for team in ("a", "default"):
        cluster.submit(team, priority=-1)
        cluster.run("w")
    cluster.submit("a", gpus=2, priority=1)
    cluster.submit("a", priority=0)  # behind it

    assert asked(cluster) == []


def test_jobs_on_workers_that_would_not_claim_are_left_alone(cluster):
    for name in ("draining", "troubled", "lost"):
        cluster.worker(name, 2)
        cluster.submit(priority=-1)
        cluster.run(name)
    cluster.workers.drain("draining")
    cluster.pass_time(hours=1)
    cluster.workers.beat("draining")
    cluster.workers.beat("troubled", {1: "somebody else's process is on it"})
    cluster.workers.mark_lost(MINUTE)
    cluster.submit(gpus=2, priority=1)

    assert asked(cluster) == []


def test_pools_do_not_make_room_for_each_other(cluster):
    cluster.worker("w")
    cluster.submit(priority=-1)
    cluster.run("w")
    cluster.submit(priority=1, pool="other")

    assert asked(cluster) == []


def test_an_operator_may_forbid_it(cluster, engine):
    cluster.worker("w")
    cluster.submit(priority=-1)
    cluster.run("w")
    cluster.submit(priority=1)

    assert SqlQueue(engine, SchedulingRules(preempt=False)).preempt() == []
