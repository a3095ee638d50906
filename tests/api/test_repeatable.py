"""Idempotency-Key on whatever creates or changes something."""

from __future__ import annotations

import pytest

from api.repeatable import HEADER, REPLAYED
from tests.api.answers import problem_of

KEY = {HEADER: "order-17"}


def body(world, name="digits"):
    return {"name": name, "folder": str(world.folder())}


def items(world, kind):
    return world.http.get(f"/v1/{kind}").json()["items"]


def test_the_same_key_and_request_give_the_first_answer(world):
    first = world.http.post("/v1/datasets", json=body(world), headers=KEY)
    again = world.http.post("/v1/datasets", json=body(world), headers=KEY)

    assert (again.status_code, again.json()) == (202, first.json())
    assert again.headers["location"] == first.headers["location"]
    assert again.headers["content-type"] == first.headers["content-type"]
    assert (first.headers.get(REPLAYED), again.headers[REPLAYED]) == (None, "true")
    assert len(items(world, "datasets")) == 1
    assert [event["action"] for event in items(world, "audit")] == ["add_dataset"]


def test_teachers_are_registered_once(world):
    job_id = world.succeeded({"detector.safetensors": b"weights"})
    asked = {"name": "big", "source": {"job": job_id}}

    ids = {world.http.post("/v1/teachers", json=asked, headers=KEY).json()["id"] for _ in "12"}

    assert len(ids) == len(items(world, "teachers")) == 1


def test_an_action_that_is_sent_again_is_answered_as_the_first_time(world):
    job_id = world.submitted()

    answers = [world.http.post(f"/v1/jobs/{job_id}:cancel", headers=KEY) for _ in "12"]

    assert [answer.json()["state"] for answer in answers] == ["cancelled", "cancelled"]
    other = {HEADER: "another"}
    problem_of(world.http.post(f"/v1/jobs/{job_id}:cancel", headers=other), 409, "illegal_move")


def test_another_request_with_the_key_is_refused(world):
    world.http.post("/v1/datasets", json=body(world), headers=KEY)

    other = world.http.post("/v1/datasets", json=body(world, "other"), headers=KEY)
    elsewhere = world.http.post(f"/v1/jobs/{world.submitted()}:cancel", headers=KEY)

    problem_of(other, 422, "idempotency_key_reused")
    problem_of(elsewhere, 422, "idempotency_key_reused")
    assert [item["name"] for item in items(world, "datasets")].count("other") == 0


def test_one_that_is_still_worked_on_is_a_conflict(world, monkeypatch):
    seen = []
    add = world.services.library.add_dataset

    def slowly(*arguments, **named):
        seen.append(world.http.post("/v1/datasets", json=body(world), headers=KEY))
        return add(*arguments, **named)

    monkeypatch.setattr(world.services.library, "add_dataset", slowly)
    first = world.http.post("/v1/datasets", json=body(world), headers=KEY)

    assert first.status_code == 202
    problem_of(seen[0], 409, "still_working")
    assert len(seen) == len(items(world, "datasets")) == 1


@pytest.mark.parametrize("fault", ["refused", "broken"])
def test_what_was_refused_or_failed_may_be_sent_again(world, monkeypatch, fault):
    add = world.services.library.add_dataset
    if fault == "broken":
        monkeypatch.setattr(world.services.library, "add_dataset", None)
        assert world.http.post("/v1/datasets", json=body(world), headers=KEY).status_code == 500
        monkeypatch.setattr(world.services.library, "add_dataset", add)
    else:
        asked = {"name": "d", "folder": "/elsewhere"}
        assert world.http.post("/v1/datasets", json=asked, headers=KEY).status_code == 403

    assert world.http.post("/v1/datasets", json=body(world), headers=KEY).status_code == 202


def test_two_callers_may_use_the_same_key_and_see_nothing_of_each_other(world):
    for team in ("a", "b"):
        answer = world.of("submitter", team).post("/v1/datasets", json=body(world), headers=KEY)
        assert (answer.status_code, answer.json()["team"]) == (202, team)
        assert REPLAYED not in answer.headers


@pytest.mark.parametrize("key", ["", "two words", "x" * 201])
def test_an_impossible_key_is_refused(world, key):
    answer = world.http.post("/v1/datasets", json=body(world), headers={HEADER: key})

    (item,) = problem_of(answer, 422, "invalid_request")["errors"]
    assert (item["in"], item["parameter"]) == ("header", HEADER)


def test_the_document_names_the_header_wherever_it_is_heeded(world):
    paths = world.http.get("/openapi.json").json()["paths"]

    def heeds(operation):
        named = {one["name"].lower() for one in operation.get("parameters", ())}
        return HEADER.lower() in named

    found = {path for path, ways in paths.items() if "post" in ways and heeds(ways["post"])}
    without = {path for path, ways in paths.items() if "post" in ways} - found
    assert {"/v1/jobs", "/v1/datasets", "/v1/teachers", "/v1/jobs/{job_id}:retry"} <= found
    # They answer a secret, take a stream, change nothing, or are the same when sent again.
    assert without == {
        "/v1/keys",
        "/v1/models/{model_id}:predict",
        "/v1/uploads",
        "/v1/uploads/tus",
        "/v1/webhooks",
        "/v1/webhooks/{webhook_id}:test",
    }
    assert not any(heeds(ways["get"]) for ways in paths.values() if "get" in ways)
