"""Who did what through the API is on record."""

from __future__ import annotations

import pytest

from tests.api.answers import problem_of


def events(http, **query):
    answer = http.get("/v1/audit", params=query)
    assert answer.status_code == 200, answer.text
    return answer.json()["items"]


def told(http, **query):
    return [(e["action"], e["thing"], e["team"], e["key_name"]) for e in events(http, **query)]


def test_every_change_leaves_an_event_and_looking_leaves_none(world):
    world.worker("gpu-1")
    http = world.of("admin", "vision")
    spec = world.train_spec("vision", name="mine")
    job = http.post("/v1/jobs", json=spec).json()["id"]
    http.post(f"/v1/jobs/{job}:cancel")
    http.patch(f"/v1/jobs/{world.submitted(team='vision')}", json={"priority": "low"})
    upload = http.post("/v1/uploads", content=b"x").json()["id"]
    http.get("/v1/jobs")
    http.post("/v1/jobs?validate_only=true", json=spec)
    http.post("/v1/jobs", json={})
    http.post("/v1/jobs/none:cancel")
    who = "admin of vision"

    mine = [line for line in told(http) if line[3] == who]

    assert mine[0] == ("add_upload", f"uploads/{upload}", "vision", who)
    assert mine[1][0] == "change_job"
    assert mine[2:] == [
        ("cancel_job", f"jobs/{job}", "vision", who),
        ("submit_job", f"jobs/{job}", "vision", who),
    ]
    found = {event["action"]: event["details"] for event in events(http)}
    assert found["submit_job"]["kind"] == "train"
    assert found["change_job"] == {"priority": "low"}


def test_what_an_operator_does_to_a_teams_things_the_team_reads_and_what_is_nobodys_it_does_not(
    world,
):
    world.worker("gpu-1")
    world.team("vision")
    job = world.submitted(team="vision")
    world.http.post(f"/v1/jobs/{job}:pause")
    world.http.put("/v1/teams/vision", json={"weight": 2})
    world.http.post("/v1/workers/gpu-1:drain")

    assert [line[:3] for line in told(world.of("admin", "vision"))] == [
        ("put_team", "teams/vision", "vision"),
        ("pause_job", f"jobs/{job}", "vision"),
        ("submit_job", f"jobs/{job}", "vision"),
    ]
    assert told(world.of("admin", "other")) == []
    assert told(world.http)[0] == ("drain_worker", "workers/gpu-1", "*", "tests")
    assert events(world.http)[1]["details"]["weight"] == 2


def test_events_are_read_page_by_page(world):
    jobs = [world.submitted() for _ in range(3)]

    first = world.http.get("/v1/audit?limit=2").json()
    rest = world.http.get("/v1/audit", params={"after": first["next_after"]}).json()

    things = [event["thing"] for event in [*first["items"], *rest["items"]]]
    assert things == [f"jobs/{job}" for job in reversed(jobs)]
    assert (first["has_more"], rest["has_more"]) == (True, False)


def test_a_secret_is_on_no_record(world):
    made = world.http.post("/v1/keys", json={"name": "mira", "role": "viewer"}).json()

    (event,) = events(world.http)

    assert (event["action"], event["thing"]) == ("add_key", f"keys/{made['id']}")
    assert event["details"] == {"name": "mira", "role": "viewer", "team": "default"}
    assert made["secret"] not in world.http.get("/v1/audit").text


def test_a_change_that_cannot_be_recorded_is_not_answered_as_done(world, monkeypatch):
    def broken(**_):
        raise OSError("no space left on device")

    monkeypatch.setattr(world.services.audit, "note", broken)

    answer = world.http.post("/v1/jobs", json=world.train_spec())

    problem_of(answer, 500, "internal_error")


@pytest.mark.parametrize("role", ["viewer", "submitter"])
def test_only_admins_read_the_record(world, role):
    problem_of(world.of(role).get("/v1/audit"), 403, "forbidden")
