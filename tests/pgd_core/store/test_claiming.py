"""Who gets which devices."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from sqlalchemy import update

from pgd_core.jobs.forecast import forecast
from pgd_core.jobs.job import Claim, Reason
from pgd_core.jobs.machine import Device, Offer, PlacementChange
from pgd_core.jobs.run import ProgressLine
from pgd_core.store.engine import writing
from pgd_core.store.tables import JobRow
from pgd_core.store.times import database_now
from tests.pgd_core.store.cluster import LEASE

# All or nothing


def test_a_job_of_several_gpus_gets_them_all_or_waits(cluster):
    cluster.worker("w", 4)
    first, second = cluster.submit(gpus=3), cluster.submit(gpus=2)

    job, _ = cluster.claim("w")

    assert (job.id, job.slots, job.gpus) == (first, (0, 1, 2), 3)
    assert cluster.claim("w") is None
    assert cluster.jobs.get(second).slots == ()


def test_two_jobs_share_a_worker_without_sharing_a_device(cluster):
    cluster.worker("w", 4)
    cluster.submit(gpus=2)
    cluster.submit(gpus=2)

    taken = [cluster.claim("w")[0].slots for _ in range(2)]

    assert taken == [(0, 1), (2, 3)]


def test_a_job_gets_devices_of_its_memory_and_the_smallest_that_do(cluster):
    cluster.worker("w", [80, 24, 48])
    small, large = cluster.submit(memory=0), cluster.submit(memory=40)

    assert [(job.id, job.slots) for job, _ in (cluster.claim("w"), cluster.claim("w"))] == [
        (small, (1,)),
        (large, (2,)),
    ]


def test_a_job_that_fits_no_device_here_lets_others_past(cluster):
    cluster.worker("small", [24])
    cluster.worker("large", [80])
    large, small = cluster.submit(memory=80), cluster.submit()

    assert cluster.claimed("small") == small
    assert cluster.claimed("large") == large


def test_a_job_that_no_worker_can_ever_run_holds_nobody_up(cluster):
    cluster.worker("w", 2)
    cluster.submit(gpus=5, priority=1)
    cluster.submit(memory=81, priority=1)
    small = cluster.submit()

    assert cluster.claimed("w") == small


def test_a_claim_says_in_the_history_who_and_on_what(cluster):
    cluster.worker("w", 2)
    id = cluster.submit(gpus=2)
    cluster.claim("w")

    submitted, claimed = cluster.jobs.events(id)

    assert (submitted.by, submitted.data["gpus"], submitted.data["team"]) == ("ann", 2, "default")
    assert (claimed.kind, claimed.by) == ("claimed", "w")
    assert claimed.data == {"attempt": 1, "slots": [0, 1], "devices": ["GPU", "GPU"]}


def test_a_worker_that_nobody_knows_may_claim(cluster):
    id = cluster.submit(gpus=2)
    free = (Device(0, "GPU", "", 80), Device(3, "GPU", "", 80))

    job, _ = cluster.jobs.claim(Offer("stranger", "default", free), LEASE)

    assert (job.id, job.slots) == (id, (0, 3))


def test_with_nothing_free_nothing_is_claimed(cluster):
    cluster.submit()

    assert cluster.jobs.claim(Offer("w", "default", ()), LEASE) is None


@pytest.mark.parametrize("state", ["draining", "stopped"])
def test_a_worker_that_drains_or_said_goodbye_claims_nothing(cluster, state):
    cluster.worker("w")
    id = cluster.submit()
    cluster.workers.drain("w") if state == "draining" else cluster.workers.stopped("w")

    assert cluster.claim("w") is None
    if state == "draining":
        cluster.workers.undrain("w")
        assert cluster.claimed("w") == id


# Limits


def test_a_team_runs_no_more_than_its_limit_however_many_claim_at_once(cluster):
    cluster.team("a", running=3)
    cluster.team("b", running=2)
    for _ in range(6):
        cluster.submit("a")
        cluster.submit("b", gpus=2)
    names = [cluster.worker(f"w{number}", 4) for number in range(6)]
    offers = [cluster.offer(name) for name in names for _ in range(2)]

    with ThreadPoolExecutor(12) as threads:
        taken = list(threads.map(lambda offer: cluster.jobs.claim(offer, LEASE), offers))

    gpus = [(job.team, job.gpus) for job, _ in filter(None, taken)]
    assert sorted(gpus) == [("a", 1), ("a", 1), ("a", 1), ("b", 2)]


def test_a_team_at_its_limit_does_not_hold_up_the_others(cluster):
    cluster.team("a", running=1)
    cluster.team("b")
    cluster.worker("w", 4)
    cluster.submit("a")
    cluster.submit("a", priority=0)
    last = cluster.submit("b", priority=-1)
    cluster.claim("w")

    assert cluster.claimed("w") == last


def test_at_the_limit_a_team_s_own_smaller_job_does_not_overtake_its_larger_one(cluster):
    cluster.team("a", running=2)
    cluster.worker("w", 4)
    cluster.submit("a")
    claim = cluster.run("w")
    large, small = cluster.submit("a", gpus=2), cluster.submit("a")
    assert cluster.claim("w") is None

    cluster.jobs.finish(claim, Reason.COMPLETED)
    assert cluster.claimed("w") == large
    assert cluster.jobs.get(small).state == "queued"


def test_a_job_beyond_its_team_s_limit_is_passed_by(cluster):
    cluster.team("a", running=2)
    cluster.worker("w", 4)
    cluster.submit("a", gpus=2)
    with writing(cluster.engine) as session:  # from before the limit was lowered
        session.execute(update(JobRow).values(gpus=3))
    small = cluster.submit("a")

    assert cluster.claimed("w") == small


def test_a_limit_holds_for_jobs_behind_the_team_s_first_too(cluster):
    cluster.team("a", running=2)
    cluster.worker("large", [80])
    cluster.worker("w", [24, 24, 24])
    cluster.submit("a")
    cluster.run("w")
    cluster.submit("a", memory=80)  # starts elsewhere
    cluster.submit("a", gpus=2)
    small = cluster.submit("a")

    assert cluster.claimed("w") == small


# Fair share


def test_the_team_that_used_less_goes_first(cluster):
    cluster.team("a")
    cluster.team("b")
    cluster.worker("w")
    for _ in range(3):
        cluster.submit("a")
    cluster.run_for("w", hours=2)
    other = cluster.submit("b")

    assert cluster.run_for("w", hours=1) == other
    assert cluster.submit("b")
    assert cluster.jobs.get(cluster.claimed("w")).team == "b"  # one hour, and the other two


def test_twice_the_weight_is_twice_the_time(cluster):
    cluster.team("a", 1)
    cluster.team("b", 2)
    cluster.worker("w")
    for _ in range(9):
        cluster.submit("a")
        cluster.submit("b")

    teams = [cluster.jobs.get(cluster.run_for("w", hours=0.5)).team for _ in range(9)]

    assert (teams.count("a"), teams.count("b")) == (3, 6)


def test_what_runs_counts_with_all_its_gpus(cluster):
    cluster.team("a")
    cluster.team("b")
    cluster.worker("w", 4)
    cluster.submit("a", gpus=2)
    cluster.submit("b")
    assert {cluster.claim("w")[0].team for _ in range(2)} == {"a", "b"}
    cluster.pass_time(hours=1)
    cluster.submit("a")
    later = cluster.submit("b")

    assert cluster.claimed("w") == later


def test_use_of_long_ago_counts_less_than_use_of_now(cluster):
    cluster.team("a")
    cluster.team("b")
    cluster.worker("w")
    cluster.submit("a")
    cluster.run_for("w", hours=3)
    cluster.pass_time(hours=48)  # two half-lives: three quarters are forgiven
    cluster.submit("b")
    cluster.run_for("w", hours=1)
    cluster.submit("b")
    old = cluster.submit("a")

    assert cluster.claimed("w") == old


def test_a_class_goes_before_every_share(cluster):
    cluster.team("a")
    cluster.team("b")
    cluster.worker("w")
    cluster.submit("a")
    cluster.run_for("w", hours=9)
    cluster.submit("b")
    urgent = cluster.submit("a", priority=1)

    assert cluster.claimed("w") == urgent


def test_an_attempt_that_was_lost_is_charged_too(cluster):
    cluster.team("a")
    cluster.team("b")
    cluster.worker("w", 2)
    cluster.submit("a", gpus=2)
    _, claim = cluster.claim("w")
    cluster.pass_time(hours=1)
    cluster.jobs.heartbeat(claim, timedelta(seconds=-1))
    cluster.jobs.expire_leases()

    used = {team.name: team.used_gpu_s for team in cluster.teams.teams()}
    assert used["a"] == pytest.approx(7200, abs=60)
    assert cluster.jobs.get(claim.job_id).gpu_s == pytest.approx(7200, abs=60)


# Reservations and backfill


def ran_once(cluster, kind, hours):
    """Let the pool know how long jobs of a kind take."""
    cluster.submit(kind=kind)
    cluster.run_for("w", hours)


def test_a_large_job_is_not_starved_by_small_ones(cluster):
    cluster.worker("w", 3)
    claims = [cluster.run("w") for _ in range(2) if cluster.submit()]
    large = cluster.submit(gpus=3)
    for _ in range(5):
        cluster.submit()

    assert cluster.claim("w") is None  # the free GPU is kept
    for claim in claims:
        cluster.jobs.finish(claim, Reason.COMPLETED)
        taken = cluster.claim("w")
    assert taken[0].id == large


def test_beside_the_reserved_worker_small_jobs_go_on(cluster):
    cluster.worker("w", 3)
    cluster.submit(gpus=2)
    cluster.run("w")
    cluster.worker("other", 1)
    cluster.submit(gpus=3)
    small = cluster.submit()

    assert cluster.claim("w") is None
    assert cluster.claimed("other") == small


def test_a_short_job_may_go_first_where_it_ends_in_time(cluster):
    cluster.worker("w", 2)
    ran_once(cluster, "evaluate", hours=0.5)
    ran_once(cluster, "train", hours=4)
    cluster.submit()
    cluster.run("w")
    cluster.pass_time(hours=3)  # so it has an hour to go
    cluster.submit(gpus=2)
    cluster.submit(kind="train")
    short = cluster.submit(kind="evaluate")

    assert cluster.claimed("w") == short
    assert cluster.claim("w") is None


def test_near_the_reserved_start_nothing_goes_first(cluster):
    cluster.worker("w", 2)
    ran_once(cluster, "evaluate", hours=0.5)
    ran_once(cluster, "train", hours=4)
    cluster.submit()
    cluster.run("w")
    cluster.pass_time(hours=3.9)
    cluster.submit(gpus=2)
    cluster.submit(kind="evaluate")

    assert cluster.claim("w") is None


def test_gpus_that_the_large_job_leaves_over_are_used(cluster):
    cluster.worker("w", 4)
    ran_once(cluster, "train", hours=4)
    cluster.submit(gpus=3)
    cluster.run("w")
    cluster.submit(gpus=3)
    small = cluster.submit()

    assert cluster.claimed("w") == small


def test_devices_with_too_little_memory_for_the_large_job_are_used(cluster):
    cluster.worker("w", [80, 80, 24])
    cluster.submit(memory=80)
    cluster.run("w")
    cluster.submit(gpus=2, memory=80)
    small = cluster.submit()
    cluster.submit()

    assert cluster.claimed("w") == small
    assert cluster.claim("w") is None


def test_the_trainer_s_own_estimate_is_believed(cluster):
    cluster.worker("w", 2)
    ran_once(cluster, "evaluate", hours=0.5)
    cluster.submit()
    claim = cluster.run("w")
    with writing(cluster.engine) as session:
        now = session.scalar(database_now().select())
    line = ProgressLine(type="train", at=now.isoformat(), iteration=1, eta_s=3600)
    cluster.jobs.heartbeat(claim, LEASE, [line])
    cluster.submit(gpus=2)
    short = cluster.submit(kind="evaluate")

    assert cluster.claimed("w") == short


@pytest.mark.parametrize("at", ["2020-01-01T00:00:00Z", "2020-01-01T00:00:00", "yesterday"])
def test_an_estimate_of_an_earlier_attempt_or_of_no_time_is_not(cluster, at):
    cluster.worker("w", 2)
    ran_once(cluster, "evaluate", hours=0.5)
    cluster.submit(kind="distill")
    claim = cluster.run("w")
    line = ProgressLine(type="train", at=at, iteration=1, eta_s=10.0**9)
    cluster.jobs.heartbeat(claim, LEASE, [line])
    cluster.submit(gpus=2)
    cluster.submit(kind="evaluate")

    assert cluster.claim("w") is None  # nobody knows when the running job ends


def test_a_worker_s_gpu_that_a_stranger_uses_is_not_counted_on(cluster):
    cluster.worker("w", 3)
    cluster.submit()
    cluster.run("w")
    cluster.submit(gpus=3)  # can start only when the stranger is gone
    middle = cluster.submit(gpus=2)
    cluster.submit()

    assert cluster.claim("w", without=[2]) is None  # kept for the job of two
    for job in cluster.jobs.list():
        if job.state == "running":
            cluster.jobs.cancel(job.id)
            cluster.jobs.finish(_claim(job), Reason.CANCELLED_BY_USER)
    assert cluster.claimed("w", without=[2]) == middle


def test_nothing_is_kept_for_a_job_that_a_stranger_s_gpu_keeps_from_starting(cluster):
    cluster.worker("w", 3)
    cluster.submit()
    cluster.run("w")
    cluster.submit(gpus=3)
    small = cluster.submit()

    assert cluster.claimed("w", without=[2]) == small


def _claim(job):
    return Claim(job.id, job.attempt, job.lease_token)


def test_a_draining_worker_is_not_kept_for_anybody(cluster):
    cluster.worker("w", 2)
    cluster.worker("draining", 2)
    for _ in range(2):
        cluster.submit(gpus=1)
    cluster.run("w")
    cluster.run("draining")
    cluster.workers.drain("draining")
    cluster.submit(gpus=2)
    cluster.submit()

    assert cluster.claim("w") is None


# The forecast


def test_claims_come_in_the_order_of_the_forecast(cluster):
    for name, weight in {"a": 1.0, "b": 2.1, "c": 0.7}.items():
        cluster.team(name, weight)
    for number in range(24):
        cluster.submit("abc"[number % 3], priority=(0, 0, 1, -1)[number % 4])
    for number in range(24):
        cluster.worker(f"w{number:02}")

    places = forecast(cluster.queue.pool("default"))

    assert [place.position for place in places] == list(range(1, 25))
    claimed = [cluster.claimed(f"w{number:02}") for number in range(24)]
    assert claimed == [place.job for place in places]


def test_a_job_that_is_moved_while_it_is_claimed_is_not_claimed_by_what_it_was(cluster, engine):
    if engine.dialect.name == "sqlite":
        pytest.skip("SQLite lets one writer in at a time")
    cluster.worker("w", 1)
    id = cluster.submit()
    with ThreadPoolExecutor(1) as threads:
        with writing(engine) as session:
            session.execute(update(JobRow).where(JobRow.id == id).values(gpus=2))
            claimed = threads.submit(cluster.claim, "w")
            with engine.connect() as looker:
                while (
                    not claimed.done()
                    and not looker.exec_driver_sql(
                        "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
                    ).scalar()
                ):
                    looker.rollback()
        assert claimed.result() is None

    cluster.jobs.change(id, PlacementChange(gpus=1))
    assert cluster.claimed("w") == id
