"""Pause, resume, retry and change under /v1/jobs; what each state allows is the store's to test."""

from __future__ import annotations

from datetime import timedelta

import pytest

from pgd_core.jobs.job import JobState, Reason
from tests.api.answers import problem_of
from tests.api.conftest import OPERATOR

ENDINGS = {
    JobState.SUCCEEDED: Reason.COMPLETED,
    JobState.FAILED: Reason.DIVERGED,
    JobState.CANCELLED: Reason.CANCELLED_BY_USER,
}


def in_state(world, state):
    """The id of a job in this state."""
    if state is JobState.QUEUED:
        return world.submitted()
    if state is JobState.PAUSED:
        return world.services.jobs.pause(world.submitted()).id
    job, claim = world.running()
    if state in ENDINGS:
        world.services.jobs.finish(claim, ENDINGS[state])
    return job.id


ALLOWED = {
    "pause": {JobState.QUEUED: ("paused", None), JobState.RUNNING: ("running", "pause")},
    "resume": {JobState.PAUSED: ("queued", None)},
    "retry": {JobState.FAILED: ("queued", None), JobState.CANCELLED: ("queued", None)},
    "cancel": {
        JobState.QUEUED: ("cancelled", None),
        JobState.PAUSED: ("cancelled", None),
        JobState.RUNNING: ("running", "cancel"),
    },
}
STATES = [state for state in JobState if state is not JobState.STARTING]


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("action", list(ALLOWED))
def test_an_action_is_taken_where_the_state_allows_it_and_a_conflict_elsewhere(
    world, action, state
):
    job_id = in_state(world, state)
    world.hints.pools.clear()

    answer = world.http.post(f"/v1/jobs/{job_id}:{action}")

    if state in ALLOWED[action]:
        assert answer.status_code == 202
        job = answer.json()
        assert (job["state"], job["stop_requested"]) == ALLOWED[action][state]
        assert job == world.http.get(f"/v1/jobs/{job_id}").json()
        assert world.hints.pools == (["default"] if action in ("resume", "retry") else [])
        last = world.http.get(f"/v1/jobs/{job_id}/events").json()["items"][-1]
        assert last["by"] == OPERATOR
        assert last["sentence"].startswith(f"{OPERATOR} ")
    else:
        assert state in problem_of(answer, 409, "illegal_move")["detail"]
        assert world.hints.pools == []


@pytest.mark.parametrize("action", list(ALLOWED))
@pytest.mark.parametrize("job_id", ["00000000-0000-7000-8000-000000000000", "x y"])
def test_nothing_can_be_asked_of_a_job_that_does_not_exist(world, action, job_id):
    problem_of(world.http.post(f"/v1/jobs/{job_id}:{action}"), 404, "not_found")


def test_a_paused_job_says_so_and_has_no_place_until_it_is_resumed(world):
    job_id = world.submitted()

    paused = world.http.post(f"/v1/jobs/{job_id}:pause").json()
    resumed = world.http.post(f"/v1/jobs/{job_id}:resume").json()

    assert (paused["queue_position"], paused["waits_because"]) == (None, "paused")
    assert (resumed["queue_position"], resumed["waits_because"]) == (1, "no_worker")


def test_a_dead_redis_fails_no_resume_and_the_hint_stays_due(world):
    job_id = in_state(world, JobState.PAUSED)
    world.hints.dead = True

    assert world.http.post(f"/v1/jobs/{job_id}:resume").status_code == 202

    assert world.services.jobs.pending_hints(again_after=timedelta(hours=1)) == ["default"]


def test_a_retry_over_its_teams_limit_is_refused_by_its_code(world):
    team = world.team("vision", max_queued_jobs=1)
    job_id = world.submitted(team=team)
    world.http.post(f"/v1/jobs/{job_id}:cancel")
    world.submitted(team=team)

    answer = world.http.post(f"/v1/jobs/{job_id}:retry")

    assert "may have 1" in problem_of(answer, 409, "quota_exceeded")["detail"]


def test_a_waiting_job_is_moved_field_by_field_and_both_pools_places_are_new(world):
    team = world.team("vision")
    first, second = world.submitted(), world.submitted()
    world.hints.pools.clear()

    up = world.http.patch(f"/v1/jobs/{second}", json={"priority": "high"})
    assert up.status_code == 200
    assert (up.json()["priority"], up.json()["queue_position"]) == ("high", 1)
    assert world.http.get(f"/v1/jobs/{first}").json()["queue_position"] == 2

    asked = {"pool": "big", "team": team, "gpus": 2, "min_memory_mb": 40_000}
    moved = world.http.patch(f"/v1/jobs/{second}", json=asked).json()
    assert asked.items() <= moved.items()
    assert (moved["priority"], moved["queue_position"]) == ("high", 1)
    assert world.http.get(f"/v1/jobs/{first}").json()["queue_position"] == 1
    assert world.hints.pools == ["default", "big"]


def test_of_a_running_job_only_the_class_changes(world):
    job, _ = world.running()

    higher = world.http.patch(f"/v1/jobs/{job.id}", json={"priority": "high"}).json()
    refused = world.http.patch(f"/v1/jobs/{job.id}", json={"gpus": 2})

    assert (higher["state"], higher["priority"]) == ("running", "high")
    assert "pause it first" in problem_of(refused, 409, "illegal_move")["detail"]


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({}, ""),
        ({"priority": "urgent"}, "/priority"),
        ({"priority": None}, "/priority"),
        ({"gpus": 0}, "/gpus"),
        ({"gpus": 257}, "/gpus"),
        ({"gpus": "many"}, "/gpus"),
        ({"min_memory_mb": -1}, "/min_memory_mb"),
        ({"min_memory_mb": 2**31}, "/min_memory_mb"),
        ({"pool": "Big"}, "/pool"),
        ({"pool": ""}, "/pool"),
        ({"team": "a\x00b"}, "/team"),
        ({"team": "none"}, "/team"),
        ({"state": "queued"}, "/state"),
        ([], ""),
    ],
)
def test_an_impossible_change_is_pointed_at_and_changes_nothing(world, body, pointer):
    job_id = world.submitted()

    problem = problem_of(world.http.patch(f"/v1/jobs/{job_id}", json=body), 422, "invalid_request")

    assert [item["pointer"] for item in problem["errors"]] == [pointer]
    assert len(world.http.get(f"/v1/jobs/{job_id}/events").json()["items"]) == 1


def test_an_empty_change_is_told_what_can_be_changed(world):
    answer = world.http.patch(f"/v1/jobs/{world.submitted()}", json={})

    detail = problem_of(answer, 422, "invalid_request")["detail"]
    assert "priority, pool, team, gpus, min_memory_mb" in detail


def test_a_change_of_what_is_not_there_or_not_json_is_refused(world):
    problem_of(world.http.patch("/v1/jobs/none", json={"gpus": 2}), 404, "not_found")
    headers = {"Content-Type": "application/json"}
    answer = world.http.patch(f"/v1/jobs/{world.submitted()}", content="{", headers=headers)
    problem_of(answer, 400, "bad_request")


def test_a_change_beyond_the_teams_limit_is_refused_by_its_code(world):
    job_id = world.submitted(team=world.team("vision", max_running_gpus=1))

    answer = world.http.patch(f"/v1/jobs/{job_id}", json={"gpus": 2})

    assert "may run 1" in problem_of(answer, 409, "quota_exceeded")["detail"]


@pytest.mark.parametrize("method", ["POST", "PATCH"])
def test_another_sites_page_can_ask_nothing_of_a_job(world, method):
    path = f"/v1/jobs/{world.submitted()}" + (":pause" if method == "POST" else "")

    answer = world.http.request(
        method, path, json={"gpus": 2}, headers={"Sec-Fetch-Site": "cross-site"}
    )

    problem_of(answer, 403, "forbidden")
