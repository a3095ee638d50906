"""The trainer's own processes are killed, and its checkpoints spoiled."""

from __future__ import annotations

import pytest

from tests.end_to_end.faults.service import Service, spoil, wait_for
from tests.end_to_end.faults.trainer import Plan
from tests.end_to_end.faults.verdict import check, story
from worker.processes import members

on_sqlite = pytest.mark.parametrize("database", ["sqlite"], indirect=True)
MOMENTS = ["start", "step", "checkpoint", "outputs", "outcome"]


@on_sqlite
@pytest.mark.parametrize("moment", MOMENTS)
def test_a_trainer_killed_at_any_moment_is_tried_again_from_its_newest_checkpoint(
    service: Service, moment: str
) -> None:
    service.gates.close(moment)
    service.worker()
    job = service.submit()
    wait_for(lambda: service.gates.reached(moment))
    service.trainer(job).kill()
    service.gates.open(moment)

    check(service, job, attempts=2)
    requeued = next(e for e in service.jobs.events(job.id) if e.kind == "requeued")
    assert requeued.data["reason"] == "worker_lost"
    assert "SIGKILL" in requeued.data["message"]


def test_a_trainer_killed_each_time_fails_its_job_and_says_why(service: Service) -> None:
    service.gates.close("step")
    service.worker()
    job = service.submit(max_attempts=2)
    for attempt in (1, 2):
        service.until_step(job, 8, attempt)
        service.trainer(job, attempt).kill()
        service.until(job, lambda seen, n=attempt: seen.attempt > n or seen.finished_at)

    check(service, job, "failed", reason="worker_lost", attempts=2)
    ended = ["claimed", "started", "requeued", "claimed", "started", "failed"]
    assert story(service, job) == ["submitted", *ended]


@on_sqlite
def test_one_loader_that_is_killed_costs_an_attempt_and_not_the_job(service: Service) -> None:
    service.gates.close("step")
    service.worker()
    job = service.submit()
    wait_for(lambda: service.gates.reached("step"))
    trainer = service.trainer(job)
    [loader] = trainer.children()
    loader.kill()
    service.gates.open("step")

    check(service, job, attempts=2)


SPOILED = {
    "truncated": lambda content: content[: len(content) // 2],
    "bit flipped": lambda content: content[:9] + bytes([content[9] ^ 1]) + content[10:],
    "gone": lambda _: None,
}


@on_sqlite
@pytest.mark.parametrize("how", SPOILED)
def test_a_checkpoint_that_is_not_whole_is_passed_over(service: Service, how: str) -> None:
    service.gates.close("step")
    service.worker()
    job = service.submit(Plan(gate_at=12, every=5))
    wait_for(lambda: service.gates.reached("step"))
    assert spoil(service, service.get(job), SPOILED[how])
    service.trainer(job).kill()
    service.gates.open("step")

    check(service, job, attempts=2)
    assert [n["step"] for n in service.ledger(job) if n["what"] == "resumed"] == [0, 5]


@on_sqlite
def test_what_a_killed_trainer_left_in_other_sessions_is_ended(service: Service) -> None:
    service.gates.close("step")
    service.worker(PGD_STOP_GRACE_S="0.5")
    job = service.submit(Plan(deaf=1))
    wait_for(lambda: service.gates.reached("step") and len(members(f"{job.id}/1")) == 3)
    service.trainer(job).kill()
    service.until(job, lambda seen: seen.attempt == 2)
    assert members(f"{job.id}/1") == []
    wait_for(lambda: service.gates.reached("step"))
    service.gates.open("step")

    check(service, job, attempts=2)
