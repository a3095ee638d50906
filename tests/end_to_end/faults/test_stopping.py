"""Cancel, pause, preemption and drain, with trainers that answer and trainers that do not."""

from __future__ import annotations

import pytest

from pgd_core.jobs.job import Job
from pgd_core.jobs.machine import Priority
from tests.end_to_end.faults.service import Service, wait_for
from tests.end_to_end.faults.trainer import Plan
from tests.end_to_end.faults.verdict import check, story
from worker.processes import members

on_sqlite = pytest.mark.parametrize("database", ["sqlite"], indirect=True)
NO_GATE = Plan(gate_at=0, tag=1)
LONG = Plan(steps=2000, step_s=0.02)


def test_a_cancelled_trainer_that_answers_is_gone_in_seconds(service: Service) -> None:
    service.worker()
    job = service.submit(LONG)
    service.until_step(job, 7)
    service.jobs.cancel(job.id, by="bob")
    wait_for(lambda: not members(f"{job.id}/1"), patience_s=5)

    check(service, job, "cancelled", reason="cancelled_by_user", attempts=1)
    asked = next(e for e in service.jobs.events(job.id) if e.kind == "cancel_requested")
    assert asked.by == "bob"


@on_sqlite
def test_a_cancelled_trainer_that_is_deaf_is_gone_within_a_minute(service: Service) -> None:
    service.worker(PGD_STOP_GRACE_S="30")
    job = service.submit(Plan(steps=2000, step_s=0.02, deaf=1))
    wait_for(lambda: len(members(f"{job.id}/1")) == 3)
    service.until_step(job, 1)
    service.jobs.cancel(job.id, by="bob")
    wait_for(lambda: not members(f"{job.id}/1"), patience_s=60)

    check(service, job, "cancelled", attempts=1)


@on_sqlite
@pytest.mark.parametrize("moment", ["after-claim", "before-started", "start", "outputs"])
def test_a_cancel_is_obeyed_whenever_it_comes(service: Service, moment: str) -> None:
    service.gates.close(moment)
    service.worker()
    # The request reaches a running trainer with a heartbeat: it must not be done before.
    job = service.submit(LONG if moment == "start" else Plan())
    wait_for(lambda: service.gates.reached(moment))
    service.jobs.cancel(job.id, by="bob")
    service.gates.open(moment)

    ended = service.until_ended(job)
    # What is finished when the request comes may be kept.
    check(service, job, "succeeded" if ended.state == "succeeded" else "cancelled", attempts=1)
    assert ended.state == "cancelled" or moment == "outputs"


@on_sqlite
def test_a_job_that_is_cancelled_while_its_worker_is_dead_is_not_done_again(
    service: Service,
) -> None:
    lost = service.worker()
    job = service.submit(LONG)
    service.until_step(job, 7)
    lost.kill()
    service.jobs.cancel(job.id, by="bob")
    service.let_lease_run_out(job)
    service.reconciler()
    service.until_ended(job)
    service.worker()
    wait_for(lambda: not members(f"{job.id}/1"))

    check(service, job, "cancelled", attempts=1, swept=True)


def at_its_step(service: Service, plan: Plan = Plan()) -> Job:  # noqa: B008
    """A job whose trainer waits in the middle of an epoch."""
    service.gates.close("step")
    job = service.submit(plan)
    wait_for(lambda: service.gates.reached("step"))
    return job


def test_a_paused_job_gives_its_slot_away_and_goes_on_where_it_was(service: Service) -> None:
    service.worker()
    job = at_its_step(service)
    service.jobs.pause(job.id, by="bob")
    service.until_asked_to_stop(job)
    service.gates.open("step")
    service.until(job, lambda seen: seen.state == "paused")
    assert not members(f"{job.id}/1")
    check(service, service.submit(Plan(tag=1)), attempts=1)
    service.jobs.resume(job.id, by="bob")

    check(service, job, attempts=2)
    assert [n["step"] for n in service.ledger(job) if n["what"] == "resumed"] == [0, 8]
    assert service.get(job).failures == 0


def test_a_job_of_higher_class_takes_the_slot_and_nothing_is_lost(service: Service) -> None:
    service.reconciler()
    service.worker()
    low = at_its_step(service)
    high = service.submit(NO_GATE, priority=Priority.HIGH)
    service.until_asked_to_stop(low)
    service.gates.open("step")

    check(service, high, attempts=1)
    check(service, low, attempts=2)
    asked = next(e for e in service.jobs.events(low.id) if e.kind == "preempt_requested")
    assert asked.by == "scheduler"
    assert high.id in asked.data["why"]
    assert [n["step"] for n in service.ledger(low) if n["what"] == "resumed"] == [0, 8]
    assert service.get(low).failures == 0


@on_sqlite
def test_a_preempted_trainer_that_is_deaf_loses_what_came_after_its_checkpoint(
    service: Service,
) -> None:
    service.reconciler()
    service.worker(PGD_STOP_GRACE_S="0.5")
    low = at_its_step(service, Plan(deaf=1))
    high = service.submit(NO_GATE, priority=Priority.HIGH)
    service.until(high, lambda seen: seen.state != "queued")
    service.gates.open("step")

    check(service, high, attempts=1)
    check(service, low, attempts=2)
    assert [n["step"] for n in service.ledger(low) if n["what"] == "resumed"] == [0, 5]


@on_sqlite
def test_a_draining_worker_ends_what_it_runs_and_takes_nothing_more(service: Service) -> None:
    draining = service.worker()
    [name] = [worker.name for worker in service.workers.workers()]
    running = at_its_step(service)
    service.workers.drain(name)
    waiting = service.submit(NO_GATE)
    service.gates.open("step")
    check(service, running, attempts=1)
    beaten = service.workers.worker(name).seen_at
    wait_for(lambda: service.workers.worker(name).seen_at > beaten)
    assert service.get(waiting).state == "queued"
    service.worker()

    check(service, waiting, attempts=1)
    assert draining.stop() == 0
    assert service.workers.worker(name).state == "stopped"


@on_sqlite
@pytest.mark.parametrize("moment", ["before-claim", "after-claim", "step", "after-put"])
def test_a_worker_that_is_shut_down_at_any_moment_loses_nothing(
    service: Service, moment: str
) -> None:
    service.gates.close(moment)
    first = service.worker()
    job = service.submit()
    wait_for(lambda: service.gates.reached(moment))
    first.popen.terminate()
    wait_for(lambda: first.said("Warm shutdown") or first.said("shutdown"))
    service.gates.open(moment)
    assert first.popen.wait(30) == 0
    service.worker()

    check(service, job)
    assert service.get(job).failures == 0
    assert "worker_lost" not in str(service.jobs.events(job.id))


@on_sqlite
def test_a_job_of_two_slots_is_stopped_with_both_its_processes(service: Service) -> None:
    service.worker(PGD_SLOTS="2")
    job = service.submit(LONG, gpus=2)
    service.until_step(job, 7)
    service.jobs.pause(job.id, by="bob")
    service.until(job, lambda seen: seen.state == "paused")
    assert not members(f"{job.id}/1")
    service.jobs.cancel(job.id, by="bob")

    check(service, job, "cancelled", swept=True)
    assert story(service, job)[-2:] == ["paused", "cancelled"]
