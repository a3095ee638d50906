"""Jobs of kind export, checked before they are queued."""

from __future__ import annotations

from tests.api.answers import problem_of


def export_of(world, job, team="default"):
    return {"kind": "export", "dataset": world.train_spec(team)["dataset"], "job": job}


def test_a_finished_jobs_detector_can_be_exported(world):
    spec = world.train_spec()
    job = world.succeeded({"detector.safetensors": b"weights"}, spec)

    answer = world.http.post(
        "/v1/jobs", json={"kind": "export", "dataset": spec["dataset"], "job": job}
    )

    assert (answer.status_code, answer.json()["kind"]) == (202, "export")


def test_a_job_that_has_made_no_detector_yet_is_not_ready(world):
    spec = world.train_spec()
    job = world.submitted(spec)

    answer = world.http.post(
        "/v1/jobs", json={"kind": "export", "dataset": spec["dataset"], "job": job}
    )

    assert "exists once it has succeeded" in problem_of(answer, 409, "not_ready")["detail"]


def test_a_job_that_is_not_there_is_named(world):
    found = problem_of(
        world.http.post("/v1/jobs", json=export_of(world, "no-such-job")), 422, "invalid_spec"
    )

    assert found["errors"][0]["pointer"] == "/job"


def test_another_teams_job_is_as_good_as_none(world):
    job = world.succeeded({"detector.safetensors": b"weights"}, world.train_spec())
    other = world.of("submitter", "others")

    answer = other.post("/v1/jobs", json=export_of(world, job, "others"))

    assert problem_of(answer, 422, "invalid_spec")["errors"][0]["pointer"] == "/job"
