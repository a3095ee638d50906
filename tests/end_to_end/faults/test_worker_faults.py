"""A worker is killed at any moment, or frozen while its job is given to another, or wrong about the
time."""

from __future__ import annotations

import pytest

from pgd_core.jobs.job import Job
from tests.end_to_end.faults.service import Process, Service, wait_for
from tests.end_to_end.faults.trainer import Plan
from tests.end_to_end.faults.verdict import check, story
from worker.processes import members

on_sqlite = pytest.mark.parametrize("database", ["sqlite"], indirect=True)
on_postgres = pytest.mark.parametrize("database", ["postgres"], indirect=True)
# The last three: outputs published in part, all of them but not told, and told.
MOMENTS = {
    "before-claim": 1,
    "after-claim": 2,
    "before-started": 2,
    "after-started": 2,
    "step": 2,
    "checkpoint": 2,
    "before-put": 2,
    "after-put": 2,
    "before-finish": 2,
    "after-finish": 1,
}
CORE = ["after-claim", "step", "after-put", "before-finish"]
LASTING = Plan(steps=200, step_s=0.03)
# In its own world of processes: it sees none of another machine's, as on one of its own.
ELSEWHERE = ("unshare", "--user", "--map-root-user", "--pid", "--fork", "--mount-proc")


def reached(service: Service, moment: str, plan: Plan = Plan()) -> tuple[Process, Job]:  # noqa: B008
    """A worker, and its job at that moment."""
    service.gates.close(moment)
    worker = service.worker()
    job = service.submit(plan)
    wait_for(lambda: service.gates.reached(moment))
    return worker, job


@pytest.mark.parametrize(
    ("database", "moment"),
    [("postgres", moment) for moment in MOMENTS] + [("sqlite", moment) for moment in CORE],
    indirect=["database"],
)
def test_the_job_of_a_worker_that_is_killed_at_any_moment_is_done_by_the_next(
    service: Service, moment: str
) -> None:
    worker, job = reached(service, moment)
    worker.kill()
    service.gates.open(moment)
    service.let_lease_run_out(job)
    service.reconciler()
    service.worker()

    swept = moment == "after-finish"  # all was told, and nothing tidied
    check(service, job, attempts=MOMENTS[moment], swept=swept)
    if MOMENTS[moment] == 2:
        lost = next(e for e in service.jobs.events(job.id) if e.kind == "requeued")
        assert (lost.by, lost.data["reason"]) == ("reconciler", "worker_lost")


@on_sqlite
def test_a_killed_worker_s_lease_runs_out_by_itself(service: Service) -> None:
    service.gates.close("step")
    lost = service.worker(PGD_LEASE_S="3")
    job = service.submit()
    wait_for(lambda: service.gates.reached("step"))
    lost.kill()
    service.gates.open("step")
    service.reconciler()
    service.worker()

    check(service, job, attempts=2)


@on_postgres
@pytest.mark.parametrize("moment", ["step", "before-put", "after-put", "before-finish"])
def test_a_worker_frozen_past_its_lease_loses_to_another_and_leaves_nothing(
    service: Service, moment: str
) -> None:
    # Mid-epoch its trainer trains on meanwhile, until the other's takes its place.
    frozen, job = reached(service, moment, LASTING if moment == "step" else Plan())
    frozen.freeze()
    service.gates.open(moment)
    service.let_lease_run_out(job)
    service.reconciler()
    other = service.worker()
    job = service.until_ended(job)
    frozen.thaw()
    wait_for(lambda: frozen.said("lease_lost"))

    assert other.said(str(job.id))
    check(service, job, attempts=2)
    other.stop()
    check(service, service.submit(Plan(tag=1)), attempts=1)  # by the one that was frozen


@on_sqlite  # the other world's root may not reach into PostgreSQL's folder
def test_a_thawed_worker_kills_its_trainer_that_nobody_else_could_see(service: Service) -> None:
    frozen = service.worker()
    job = service.submit(Plan(steps=400, step_s=0.05, every=10))
    service.until_step(job, 12)
    frozen.freeze()
    service.let_lease_run_out(job)
    service.reconciler()
    service.worker(before=ELSEWHERE)
    service.until_step(job, 13, attempt=2)
    assert members(f"{job.id}/1")  # that is how it is, for as long as its machine is cut off
    frozen.thaw()
    wait_for(lambda: not members(f"{job.id}/1"))
    wait_for(lambda: frozen.said("lease_lost"))

    service.jobs.cancel(job.id, by="bob")
    job = service.until_ended(job)
    assert (job.state, job.attempt) == ("cancelled", 2)
    assert service.jobs.artifacts(job.id) == []
    ended = ["requeued", "claimed", "started", "cancel_requested", "cancelled"]
    assert story(service, job) == ["submitted", "claimed", "started", *ended]


def test_workers_whose_clocks_are_wrong_keep_their_jobs_and_take_no_other_s(
    service: Service,
) -> None:
    service.reconciler()
    for minutes in (10, -10):
        service.worker(FAULTS_CLOCK=str(60 * minutes))
    jobs = [service.submit(Plan(steps=60, step_s=0.03, tag=tag)) for tag in range(2)]

    for job in jobs:  # each lasts for many heartbeats, and for rounds of the reconciler
        check(service, job, attempts=1)


def test_ten_hints_to_each_of_three_workers_are_one_attempt(service: Service) -> None:
    from worker.queue import HintSender

    for _ in range(3):
        service.worker()
    job = service.submit()
    hints = HintSender(service.redis.url)
    for _ in range(30):
        hints.send("default")
    hints.close()

    check(service, job, attempts=1)
    assert story(service, job) == ["submitted", "claimed", "started", "succeeded"]
