"""POST, GET and DELETE under /v1/keys, and GET /v1/me."""

from __future__ import annotations

import pytest

from tests.api.answers import problem_of


def test_a_key_is_made_used_shown_and_revoked(world):
    admin = world.of("admin", "vision")

    answer = admin.post("/v1/keys", json={"name": "mira", "role": "submitter"})

    made = answer.json()
    assert answer.status_code == 201
    assert answer.headers["location"] == f"/v1/keys/{made['id']}"
    assert answer.headers["cache-control"] == "no-store"
    mira = world.caller(made["secret"])
    me = mira.get("/v1/me").json()
    assert (me["key"]["name"], me["key"]["team"], me["key"]["role"]) == (
        "mira",
        "vision",
        "submitter",
    )
    assert me["operator"] is False
    shown = admin.get(f"/v1/keys/{made['id']}").json()
    assert shown["last_used_at"] is not None
    assert made["secret"] not in admin.get("/v1/keys").text
    revoked = admin.delete(f"/v1/keys/{made['id']}").json()
    assert revoked["revoked_at"] is not None
    problem_of(mira.get("/v1/me"), 401, "unauthenticated")
    assert admin.delete(f"/v1/keys/{made['id']}").json() == revoked


def test_the_history_of_a_job_says_the_name_of_the_key(world):
    mira = world.of("submitter", "vision")
    job = mira.post("/v1/jobs", json=world.train_spec("vision")).json()
    mira.post(f"/v1/jobs/{job['id']}:pause")

    found = mira.get(f"/v1/jobs/{job['id']}/events").json()["items"]

    assert job["team"] == "vision"
    assert {event["by"] for event in found} == {"submitter of vision"}


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"name": "reconciler", "role": "viewer"}, "/name"),
        ({"name": " ", "role": "viewer"}, "/name"),
        ({"name": "a\nb", "role": "viewer"}, "/name"),
        ({"name": "a", "role": "root"}, "/role"),
        ({"name": "a", "role": "viewer", "team": "*"}, "/team"),
        ({"name": "a", "role": "viewer", "expires_at": "2020-01-01T00:00:00Z"}, "/expires_at"),
        ({"name": "a", "role": "viewer", "expires_at": "2099-01-01T00:00:00"}, "/expires_at"),
        ({"name": "a", "role": "viewer", "expires_at": "9999-12-31T23:00:00-02:00"}, "/expires_at"),
        ({"name": "a", "role": "viewer", "all_teams": True}, "/all_teams"),
        ({"name": "a", "role": "admin", "all_teams": True, "team": "default"}, "/all_teams"),
        ({"name": "a", "role": "viewer", "team": "none"}, "/team"),
    ],
)
def test_an_impossible_key_is_refused_by_its_field(world, body, field):
    answer = world.http.post("/v1/keys", json=body)

    assert answer.status_code == 422, answer.text
    assert answer.json()["errors"][0]["pointer"] == field


def test_an_operator_makes_keys_for_any_team_and_for_all_an_admin_for_its_own(world):
    world.team("vision")
    admin = world.of("admin", "vision")
    all_teams = {"name": "ops", "role": "admin", "all_teams": True}
    other = {"name": "x", "role": "viewer", "team": "default"}

    assert world.http.post("/v1/keys", json=other | {"team": "vision"}).json()["team"] == "vision"
    made = world.http.post("/v1/keys", json=all_teams).json()
    assert made["team"] == "*"
    assert world.caller(made["secret"]).get("/v1/me").json()["operator"] is True
    problem_of(admin.post("/v1/keys", json=all_teams), 403, "forbidden")
    problem_of(admin.post("/v1/keys", json=other), 403, "forbidden")
    problem_of(admin.post("/v1/keys", json=other | {"team": "none"}), 403, "forbidden")


def test_the_last_operator_does_not_lock_all_out(world):
    me = world.http.get("/v1/me").json()["key"]["id"]

    problem_of(world.http.delete(f"/v1/keys/{me}"), 409, "conflict")


def test_a_job_is_for_the_callers_team_and_of_its_things_alone(world):
    world.team("vision")
    mira = world.of("submitter", "vision")

    problem_of(mira.post("/v1/jobs?team=default", json=world.train_spec()), 403, "forbidden")
    problem_of(mira.post("/v1/jobs?team=none", json=world.train_spec()), 403, "forbidden")
    theirs = problem_of(mira.post("/v1/jobs", json=world.train_spec()), 422, "invalid_spec")
    assert theirs["errors"][0]["pointer"] == "/dataset"
    spec = world.distill_spec(dataset=world.dataset(team="vision"))
    theirs = problem_of(mira.post("/v1/jobs", json=spec), 422, "invalid_spec")
    assert theirs["errors"][0]["pointer"] == "/teacher"
    answer = world.http.post("/v1/jobs?team=vision", json=world.train_spec())
    assert problem_of(answer, 422, "invalid_spec")["errors"][0]["pointer"] == "/dataset"
    assert world.http.post("/v1/jobs?team=vision", json=world.train_spec("vision")).is_success


def test_a_teacher_is_made_of_the_teams_own_job_or_upload(world):
    world.team("vision")
    mira = world.of("submitter", "vision")
    theirs = world.succeeded({"detector.safetensors": b"w"})
    upload = world.http.post("/v1/uploads", content=b"x").json()["id"]
    declared = {"model": world.train_spec()["model"], "classes": ["cat"]}

    for body in (
        {"name": "t", "source": {"job": theirs}},
        {"name": "t", "source": {"upload": upload}, **declared},
    ):
        problem_of(mira.post("/v1/teachers", json=body), 422, "invalid_spec")
        assert world.http.post("/v1/teachers", json=body).json()["team"] == "default"
    spec = world.train_spec("vision")
    own = world.succeeded({"detector.safetensors": b"w"}, spec, team="vision")
    made = world.http.post("/v1/teachers", json={"name": "t", "source": {"job": own}}).json()
    assert made["team"] == "vision"


def test_a_job_is_handed_over_by_an_operator_alone(world):
    world.team("vision")
    job = world.submitted()
    change = {"team": "vision"}

    problem_of(world.of("admin").patch(f"/v1/jobs/{job}", json=change), 403, "forbidden")
    assert world.of("admin").patch(f"/v1/jobs/{job}", json={"team": "default"}).is_success
    assert world.http.patch(f"/v1/jobs/{job}", json=change).json()["team"] == "vision"
    problem_of(world.of("admin").get(f"/v1/jobs/{job}"), 404, "not_found")


def test_idempotency_keys_are_each_callers_own_and_of_the_whole_request(world):
    spec, headers = world.train_spec(), {"Idempotency-Key": "one"}
    first, second = world.of("submitter"), world.of("submitter")

    def submit(http, **query):
        return http.post("/v1/jobs", json=spec, headers=headers, params=query)

    mine = submit(first).json()["id"]
    assert submit(first).json()["id"] == mine
    assert submit(second).json()["id"] != mine
    problem_of(submit(first, priority="high"), 422, "idempotency_key_reused")
    problem_of(submit(first, gpus=2), 422, "idempotency_key_reused")
    first.patch(f"/v1/jobs/{mine}", json={"priority": "high"})
    assert submit(first).json()["id"] == mine  # moved, and still what was asked for
