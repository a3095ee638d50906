"""GET /v1/queue."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from pgd_core.jobs.job import Reason
from pgd_core.jobs.run import ProgressLine
from tests.api.answers import problem_of


def queue_of(world, **query):
    world.forget()
    answer = world.http.get("/v1/queue", params=query)
    assert answer.status_code == 200, answer.text
    return {pool["name"]: pool for pool in answer.json()["pools"]}


def test_an_empty_service_has_no_pools(world):
    assert queue_of(world) == {}
    assert queue_of(world, pool="default") == {}


def test_a_pool_shows_its_workers_what_runs_and_what_waits_in_order(world):
    worker = world.worker("gpu-1", gpus=3)
    world.submitted(world.train_spec(name="long"), gpus=2)
    running, _ = world.claimed(worker, 0, 1, 2)
    large = world.submitted(world.train_spec(name="large"), gpus=2)
    higher = world.submitted(world.train_spec(name="urgent"), priority="high")

    pool = queue_of(world)["default"]

    assert pool["workers"] == 1
    assert pool["gpus"] == {"total": 3, "busy": 2, "free": 1}
    (runs,) = pool["running"]
    assert (runs["id"], runs["name"], runs["kind"]) == (running.id, "long", "train")
    assert (runs["worker"], runs["slots"], runs["stopping"]) == ("gpu-1", [0, 1], False)
    assert datetime.fromisoformat(runs["started_at"]) == running.claimed_at
    assert runs["ends_at"] is None
    waiting = pool["waiting"]["items"]
    assert pool["waiting_jobs"] == 2
    assert [(job["id"], job["position"], job["reason"]) for job in waiting] == [
        (higher, 1, "next"),
        (large, 2, "pool_full"),
    ]
    assert [(job["name"], job["priority"], job["gpus"]) for job in waiting] == [
        ("urgent", "high", 1),
        ("large", "normal", 2),
    ]
    assert "no worker of pool 'default' has 2 GPUs free" in waiting[1]["message"]


def test_ends_and_starts_are_estimated_from_the_trainers_own_word(world):
    worker = world.worker("gpu-1", gpus=1)
    world.submitted()
    _, claim = world.claimed(worker, 0)
    now = datetime.now(UTC)
    world.beat(claim, ProgressLine(type="train", at=now.isoformat(), done=0.5, eta_s=3600))
    world.submitted()

    pool = queue_of(world)["default"]

    ends_at = datetime.fromisoformat(pool["running"][0]["ends_at"])
    starts_at = datetime.fromisoformat(pool["waiting"]["items"][0]["starts_at"])
    assert abs(ends_at - now - timedelta(hours=1)) < timedelta(minutes=5)
    assert starts_at == ends_at


@pytest.mark.parametrize(("at", "eta_s"), [("now", 60.0), ("", 60.0), ("2026-01-01T00:00Z", 1e12)])
def test_a_trainer_that_tells_nonsense_spoils_no_answer_and_no_claim(world, at, eta_s):
    worker = world.worker("gpu-1", gpus=2)
    world.submitted()
    _, claim = world.claimed(worker, 0)
    world.beat(claim, ProgressLine(type="train", at=at, eta_s=eta_s))
    world.worker("gpu-2", gpus=2)
    world.submitted(gpus=2)
    last = world.submitted()

    assert queue_of(world)["default"]["running"][0]["ends_at"] is None
    assert world.http.get("/v1/jobs").status_code == 200
    assert world.claimed(worker, 1)[0].id == last


def test_a_job_that_no_worker_is_large_enough_for_is_taken_and_told_so(world):
    world.worker("gpu-1", gpus=2)

    answer = world.http.post("/v1/jobs", json=world.train_spec(), params={"gpus": 8})

    assert answer.status_code == 202
    assert answer.json()["waits_because"] == "too_large"
    waiting = queue_of(world)["default"]["waiting"]["items"][0]
    assert waiting["reason"] == "too_large"
    assert "has 8 GPUs" in waiting["message"]
    assert waiting["starts_at"] is None


def test_each_pool_has_its_own_queue_and_one_can_be_asked_for(world):
    world.worker("gpu-1", pool="big")
    waits = world.submitted(pool="small")

    assert set(queue_of(world)) == {"big", "small"}
    small = queue_of(world, pool="small")
    assert set(small) == {"small"}
    assert small["small"]["workers"] == 0
    assert small["small"]["waiting"]["items"][0]["id"] == waits
    assert small["small"]["waiting"]["items"][0]["reason"] == "no_worker"
    assert queue_of(world, pool="nobodys") == {}


def test_free_gpus_are_those_that_a_job_could_get(world):
    world.worker("gpu-1")
    world.worker("gpu-2")
    world.services.workers.drain("gpu-1")
    assert queue_of(world)["default"]["gpus"] == {"total": 4, "busy": 0, "free": 2}

    world.services.workers.beat("gpu-2", {0: "the disk is full", 1: "the disk is full"})
    world.submitted()
    pool = queue_of(world)["default"]
    assert pool["gpus"]["free"] == 0
    assert pool["waiting"]["items"][0]["reason"] == "worker_trouble"
    assert "gpu-2: the disk is full" in pool["waiting"]["items"][0]["message"]


def test_a_stopping_job_says_so(world):
    worker = world.worker()
    world.submitted()
    job, _ = world.claimed(worker, 0)
    world.http.post(f"/v1/jobs/{job.id}:pause")

    assert queue_of(world)["default"]["running"][0]["stopping"] is True


def test_teams_stand_by_weight_use_and_limits(world):
    vision = world.team("vision", 3, max_running_gpus=4, max_queued_jobs=9)
    worker = world.worker()
    world.submitted(team=vision, gpus=2)
    world.claimed(worker, 0, 1)

    default, team = queue_of(world)["default"]["teams"]

    assert (team["name"], team["weight"], team["running_gpus"]) == ("vision", 3, 2)
    assert (team["max_running_gpus"], team["max_queued_jobs"]) == (4, 9)
    assert (default["running_gpus"], default["used_share"]) == (0, 0)
    assert default["max_running_gpus"] is default["max_queued_jobs"] is None


def test_used_shares_add_up_to_one(world):
    world.team("vision")
    worker = world.worker()
    for team in ("default", "vision"):
        world.submitted(team=team)
        _, claim = world.claimed(worker, 0)
        world.services.jobs.finish(claim, Reason.COMPLETED)

    teams = queue_of(world)["default"]["teams"]

    assert sum(team["used_share"] for team in teams) == pytest.approx(1)
    assert all(team["used_gpu_s"] > 0 for team in teams)


def test_pieces_hold_every_waiting_job_once_in_order(world):
    ids = [world.submitted() for _ in range(5)]
    seen, after = [], 0
    while True:
        pool = queue_of(world, after=after, limit=2)["default"]
        assert pool["waiting_jobs"] == 5
        seen += [job["id"] for job in pool["waiting"]["items"]]
        after = pool["waiting"]["next_after"]
        if not pool["waiting"]["has_more"]:
            break

    assert seen == ids
    assert queue_of(world, after=99)["default"]["waiting"]["items"] == []


@pytest.mark.parametrize(
    "query", ["limit=0", "limit=1001", "after=-1", "after=x", "pool=A", "pools=a"]
)
def test_an_impossible_question_is_refused(world, query):
    problem = problem_of(world.http.get(f"/v1/queue?{query}"), 422, "invalid_request")

    assert problem["errors"][0]["parameter"] == query.partition("=")[0]
