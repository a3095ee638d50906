"""Registering teachers from jobs and from uploads."""

from __future__ import annotations

import pytest

from tests.api.answers import problem_of
from tests.api.conftest import MODEL


def add(world, source, **rest):
    return world.http.post("/v1/teachers", json={"name": "big", "source": source, **rest})


def test_a_train_jobs_detector_becomes_a_teacher_at_once(world):
    job_id = world.succeeded({"detector.safetensors": b"weights"})

    answer = add(world, {"job": job_id})

    assert answer.status_code == 202, answer.text
    teacher = answer.json()
    assert answer.headers["location"] == f"/v1/teachers/{teacher['id']}"
    assert (teacher["state"], teacher["source_job"]) == ("ready", job_id)
    assert teacher["classes"] == ["cat", "dog"]
    assert teacher["model"]["backbone"]["name"] == "resnet18"
    assert teacher["model"]["head_width"] == 64
    assert "key" not in teacher
    artifact = world.services.jobs.artifact(job_id, "detector.safetensors")
    assert teacher["sha256"] == artifact.sha256
    assert world.services.library.teacher(teacher["id"]).key == artifact.key


def test_a_distilled_student_is_its_teachers_detector_on_its_own_backbone(world):
    job_id = world.succeeded({"student.safetensors": b"weights"}, world.distill_spec())

    model = add(world, {"job": job_id}).json()["model"]

    assert (model["backbone"]["name"], model["backbone"]["width"]) == ("mobilenet_v2", 0.5)
    assert (model["detector"], model["head_width"]) == ("fcos", 64)


def test_a_teacher_from_a_job_can_be_distilled_from(world):
    job_id = world.succeeded({"detector.safetensors": b"weights"})
    teacher_id = add(world, {"job": job_id}).json()["id"]

    world.submitted(world.distill_spec(teacher=teacher_id))


def test_a_job_that_has_not_succeeded_is_a_conflict(world):
    problem = problem_of(add(world, {"job": world.submitted()}), 409, "not_ready")

    assert "queued" in problem["detail"]


def test_an_evaluate_job_makes_no_detector(world):
    spec = {"kind": "evaluate", "dataset": world.dataset(), "teacher": world.teacher()}

    problem = problem_of(add(world, {"job": world.submitted(spec)}), 422, "invalid_spec")

    assert problem["errors"][0]["pointer"] == "/source/job"


def test_a_job_that_has_no_weights_is_pointed_at(world):
    job_id = world.succeeded({"curves.png": b"picture"})

    answer = world.http.post("/v1/teachers", json={"name": "t", "source": {"job": job_id}})

    problem = problem_of(answer, 422, "invalid_spec")
    assert problem["errors"][0]["pointer"] == "/source/job"
    assert "detector.safetensors" in problem["detail"]


@pytest.mark.parametrize("source", ["job", "upload"])
def test_a_source_that_does_not_exist_is_pointed_at(world, source):
    declared = {"model": MODEL, "classes": ["cat"]} if source == "upload" else {}

    problem = problem_of(add(world, {source: "none"}, **declared), 422, "invalid_spec")

    assert problem["errors"][0]["pointer"] == f"/source/{source}"


def test_an_uploaded_teacher_is_declared_and_checked_first(world):
    upload_id = world.http.post("/v1/uploads", content=b"weights").json()["id"]

    answer = add(world, {"upload": upload_id}, model=MODEL, classes=["cat", "dog"])

    assert answer.status_code == 202, answer.text
    teacher = answer.json()
    assert (teacher["state"], teacher["upload"], teacher["sha256"]) == ("checking", upload_id, "")


@pytest.mark.parametrize(
    "body",
    [
        {"source": {}},
        {"source": {"job": "a", "upload": "b"}},
        {"source": {"job": "a\x00"}},
        {"source": {"upload": "b"}, "model": MODEL, "classes": []},
        {"source": {"upload": "b"}, "model": MODEL, "classes": ["cat", "cat"]},
        {"source": {"upload": "b"}, "model": {**MODEL, "layers": 9}, "classes": ["cat"]},
        {"source": {"job": "a"}, "model": MODEL, "classes": ["cat"]},
        {"source": {"url": "http://example.org/x.pth"}},
    ],
)
def test_a_source_that_fits_nothing_is_refused(world, body):
    answer = world.http.post("/v1/teachers", json={"name": "big", **body})

    problem_of(answer, 422, "invalid_request")


def test_teachers_are_listed_newest_first_and_found(world):
    ids = [world.teacher(), world.teacher()]

    page = world.http.get("/v1/teachers").json()

    assert [item["id"] for item in page["items"]] == ids[::-1]
    assert world.http.get(f"/v1/teachers/{ids[0]}").json() == page["items"][1]
    problem_of(world.http.get("/v1/teachers/none"), 404, "not_found")
