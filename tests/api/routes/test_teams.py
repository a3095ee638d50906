"""/v1/teams."""

from __future__ import annotations

import pytest

from tests.api.answers import problem_of


def test_there_is_one_team_without_limits_to_begin_with(world):
    (team,) = world.http.get("/v1/teams").json()["items"]

    assert (team["name"], team["weight"]) == ("default", 1)
    assert team["max_running_gpus"] is team["max_queued_jobs"] is None


def test_a_team_is_made_changed_as_a_whole_and_listed_by_name(world):
    limits = {"max_running_gpus": 4, "max_queued_jobs": 50}

    made = world.http.put("/v1/teams/vision", json={"weight": 2.5} | limits)
    assert made.status_code == 200
    assert ({"name": "vision", "weight": 2.5} | limits).items() <= made.json().items()

    changed = world.http.put("/v1/teams/vision", json={"weight": 1000}).json()
    assert changed["created_at"] == made.json()["created_at"]
    assert changed["max_running_gpus"] is changed["max_queued_jobs"] is None
    world.http.put("/v1/teams/audio", json={"weight": 1, "max_running_gpus": 0})
    listed = world.http.get("/v1/teams").json()["items"]
    assert [team["name"] for team in listed] == ["audio", "default", "vision"]
    assert listed[2] == changed


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({}, "/weight"),
        ({"weight": 0}, "/weight"),
        ({"weight": -1}, "/weight"),
        ({"weight": 1000.1}, "/weight"),
        ({"weight": None}, "/weight"),
        ({"weight": 1, "max_running_gpus": -1}, "/max_running_gpus"),
        ({"weight": 1, "max_running_gpus": 1.5}, "/max_running_gpus"),
        ({"weight": 1, "max_running_gpus": 2**31}, "/max_running_gpus"),
        ({"weight": 1, "max_queued_jobs": 0}, "/max_queued_jobs"),
        ({"weight": 1, "members": []}, "/members"),
    ],
)
def test_an_impossible_team_is_pointed_at_and_not_made(world, body, pointer):
    problem = problem_of(world.http.put("/v1/teams/vision", json=body), 422, "invalid_request")

    assert [item["pointer"] for item in problem["errors"]] == [pointer]
    assert len(world.http.get("/v1/teams").json()["items"]) == 1


@pytest.mark.parametrize("weight", ["NaN", "Infinity", "1e999"])
def test_a_weight_that_is_no_number_is_refused(world, weight):
    headers = {"Content-Type": "application/json"}

    answer = world.http.put("/v1/teams/a", content=f'{{"weight": {weight}}}', headers=headers)

    problem_of(answer, 422, "invalid_request")


@pytest.mark.parametrize("name", ["Vision", "-a", "a_b", "a%00", "a%0A", "x" * 64, "é"])
def test_a_name_that_cannot_be_is_told_what_it_may_hold(world, name):
    answer = world.http.put(f"/v1/teams/{name}", json={"weight": 1})

    assert answer.status_code == 422
    assert answer.json()["code"] == "invalid_spec"
    assert "small letters" in answer.json()["detail"]
