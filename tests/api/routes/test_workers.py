"""/v1/workers: who is there with what, drain and undrain."""

from __future__ import annotations

from datetime import timedelta

import pytest

from tests.api.answers import problem_of


def test_a_worker_shows_its_devices_and_which_job_holds_each(world):
    worker = world.worker("gpu-1", gpus=3)
    world.submitted(gpus=2)
    job, _ = world.claimed(worker, 0, 2)
    world.services.workers.beat("gpu-1", {1: "GPU 1 is used by another"})
    world.forget()

    shown = world.http.get("/v1/workers/gpu-1").json()

    assert [device["job"] for device in shown["devices"]] == [job.id, None, job.id]
    first = shown["devices"][0]
    assert (first["slot"], first["name"], first["memory_mb"]) == (0, "H100", 40_000)
    assert (shown["state"], shown["host"], shown["pool"]) == ("active", "host-1", "default")
    assert shown["trouble"] == "GPU 1 is used by another"
    assert shown["versions"] == {"python": "3.11"}
    assert shown["seen_at"] >= shown["started_at"]
    assert world.http.get("/v1/workers").json()["items"] == [shown]


def test_workers_are_listed_by_pool_and_name_and_those_that_stopped_when_asked_for(world):
    for name, pool in (("b", "default"), ("a", "default"), ("c", "big"), ("gone", "big")):
        world.worker(name, pool=pool)
    world.services.workers.stopped("gone")

    def names(**query):
        answer = world.http.get("/v1/workers", params=query).json()
        assert answer["has_more"] is False
        return [worker["name"] for worker in answer["items"]]

    assert names() == ["c", "a", "b"]
    assert names(gone_too=True) == ["c", "gone", "a", "b"]
    assert world.http.get("/v1/workers/gone").json()["state"] == "stopped"


def test_a_worker_that_is_lost_stays_in_the_list_and_says_so(world):
    world.worker("gpu-1")
    world.services.workers.mark_lost(timedelta(seconds=-1))

    (shown,) = world.http.get("/v1/workers").json()["items"]

    assert shown["state"] == "lost"
    assert [device["job"] for device in shown["devices"]] == [None, None]


def test_a_drained_worker_claims_nothing_until_it_is_undrained(world):
    world.worker("gpu-1")
    job_id = world.submitted()

    drained = world.http.post("/v1/workers/gpu-1:drain")
    assert (drained.status_code, drained.json()["state"]) == (202, "draining")
    waits = world.http.get(f"/v1/jobs/{job_id}").json()
    assert waits["waits_because"] == "worker_trouble"
    assert "gpu-1 is draining" in waits["waits_message"]
    assert world.http.post("/v1/workers/gpu-1:drain").json()["state"] == "draining"

    world.hints.pools.clear()
    undrained = world.http.post("/v1/workers/gpu-1:undrain")
    assert (undrained.status_code, undrained.json()["state"]) == (202, "active")
    assert world.hints.pools == ["default"]
    assert world.http.get(f"/v1/jobs/{job_id}").json()["waits_because"] == "next"


@pytest.mark.parametrize("action", ["drain", "undrain"])
@pytest.mark.parametrize("end", ["stopped", "lost"])
def test_a_worker_that_is_gone_is_neither_drained_nor_undrained(world, action, end):
    world.worker("gpu-1")
    workers = world.services.workers
    workers.stopped("gpu-1") if end == "stopped" else workers.mark_lost(timedelta(seconds=-1))

    answer = world.http.post(f"/v1/workers/gpu-1:{action}")

    assert end in problem_of(answer, 409, "illegal_move")["detail"]


@pytest.mark.parametrize("name", ["none", "x%00y", "n" * 201])
def test_a_worker_that_does_not_exist_is_not_found(world, name):
    problem = world.http.get(f"/v1/workers/{name}")
    assert (problem.status_code, problem.json()["code"]) == (404, "not_found")
    for action in ("drain", "undrain"):
        answer = world.http.post(f"/v1/workers/{name}:{action}")
        assert (answer.status_code, answer.json()["code"]) == (404, "not_found")


def test_a_worker_with_a_strange_name_is_reached(world):
    world.worker("gpu 1:a.b%")

    shown = world.http.get("/v1/workers/gpu%201%3Aa.b%25").json()

    assert shown["name"] == "gpu 1:a.b%"


def test_an_impossible_question_is_refused(world):
    problem_of(world.http.get("/v1/workers?gone_too=perhaps"), 422, "invalid_request")
    problem_of(world.http.get("/v1/workers?limit=3"), 422, "invalid_request")
