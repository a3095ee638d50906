"""A job that is sent again, and one whose data set or teacher is deleted as it is sent."""

from __future__ import annotations

import pytest

from api.repeatable import HEADER, REPLAYED
from tests.api.answers import problem_of
from tests.api.registered import model_of

KEY = {HEADER: "order-17"}


def actions(world):
    return [event["action"] for event in world.http.get("/v1/audit").json()["items"]]


def ended_and_deleted(world, job_id, *urls):
    assert world.http.post(f"/v1/jobs/{job_id}:cancel").status_code == 202
    for url in urls:
        assert world.http.delete(url).status_code == 204, url


def test_a_key_gives_the_first_job_though_what_it_names_is_gone(world):
    spec = world.distill_spec()
    first = world.http.post("/v1/jobs", json=spec, headers=KEY)
    job_id = first.json()["id"]
    dataset, teacher = f"/v1/datasets/{spec['dataset']}", f"/v1/teachers/{spec['teacher']}"
    ended_and_deleted(world, job_id, dataset, teacher)

    again = world.http.post("/v1/jobs", json=spec, headers=KEY)

    assert (again.status_code, again.json()["id"]) == (202, job_id)
    assert (first.headers.get(REPLAYED), again.headers[REPLAYED]) == (None, "true")
    assert again.headers["location"] == f"/v1/jobs/{job_id}"
    assert (again.json()["state"], again.json()["warnings"]) == ("cancelled", [])
    problem_of(world.http.post("/v1/jobs", json=spec), 422, "invalid_spec")
    other = world.http.post("/v1/jobs", json=spec | {"name": "other"}, headers=KEY)
    problem_of(other, 422, "idempotency_key_reused")


def test_a_job_that_is_sent_again_leaves_one_audit_event(world):
    spec = world.train_spec()

    for _ in range(2):
        assert world.http.post("/v1/jobs", json=spec, headers=KEY).status_code == 202

    assert actions(world) == ["submit_job"]


def test_a_key_gives_the_first_evaluation_though_the_teacher_is_gone(world):
    teacher, body = f"/v1/teachers/{world.teacher()}", {"dataset": world.dataset()}
    first = world.http.post(f"{teacher}:evaluate", json=body, headers=KEY)
    ended_and_deleted(world, first.json()["id"], teacher, f"/v1/datasets/{body['dataset']}")

    again = world.http.post(f"{teacher}:evaluate", json=body, headers=KEY)

    assert (again.status_code, again.json()) == (202, first.json())
    assert again.headers[REPLAYED] == "true"
    problem_of(world.http.post(f"{teacher}:evaluate", json=body), 404, "not_found")


def test_a_key_gives_the_first_export_though_the_model_is_gone(world):
    model = model_of(world)
    url = f"/v1/models/{model['id']}"
    first = world.http.post(f"{url}:export", headers=KEY)
    ended_and_deleted(world, first.json()["id"], url, f"/v1/datasets/{model['dataset_id']}")

    again = world.http.post(f"{url}:export", headers=KEY)

    assert (again.status_code, again.json()) == (202, first.json())
    problem_of(world.http.post(f"{url}:export"), 404, "not_found")


def test_a_check_uses_no_key_up(world):
    url = f"/v1/models/{model_of(world)['id']}:export"
    body = {"dataset": world.dataset()}

    checks = [world.http.post(f"{url}?validate_only=true", json=body, headers=KEY) for _ in "12"]
    queued = world.http.post(url, json=body, headers=KEY)
    later = world.http.post(f"{url}?validate_only=true", json=body, headers=KEY)

    assert [answer.status_code for answer in (*checks, queued, later)] == [200, 200, 202, 200]


def test_one_key_is_one_job_whichever_way_it_is_asked_for(world):
    model = model_of(world)
    export = f"/v1/models/{model['id']}:export"
    first = world.http.post(export, headers=KEY).json()

    same = world.http.post("/v1/jobs", json=first["spec"], headers=KEY)

    assert same.json()["id"] == first["id"]
    other = {HEADER: "another"}
    job = world.http.post("/v1/jobs", json=first["spec"], headers=other).json()
    assert world.http.post(export, headers=other).json()["id"] == job["id"]


@pytest.mark.parametrize("thing", ["dataset", "teacher"])
def test_what_is_deleted_as_the_job_is_sent_is_pointed_at(world, monkeypatch, thing):
    spec, services = world.distill_spec(), world.services
    waiting = services.teams.waiting_jobs

    def deleted_first(team):  # asked between the check of the job and its submission
        assert world.http.delete(f"/v1/{thing}s/{spec[thing]}").status_code == 204
        monkeypatch.undo()
        return waiting(team)

    monkeypatch.setattr(services.teams, "waiting_jobs", deleted_first)

    problem = problem_of(world.http.post("/v1/jobs", json=spec), 422, "invalid_spec")

    assert [error["pointer"] for error in problem["errors"]] == [f"/{thing}"]
    assert "was deleted" in problem["detail"]
    assert world.http.get("/v1/jobs").json()["items"] == []
