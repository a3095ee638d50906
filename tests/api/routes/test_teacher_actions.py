"""Confirming, evaluating and deleting teachers."""

from __future__ import annotations

import hashlib
from copy import deepcopy

import pytest

from api.errors import MEDIA_TYPE
from pgd_core.errors import NotFound
from pgd_core.jobs.job import Reason
from tests.api.answers import problem_of
from tests.api.conftest import CLASSES, MODEL
from tests.api.recognised import WEIGHTS, recognise, sent, unconfirmed


def confirm(world, teacher_id, **body):
    return world.http.post(f"/v1/teachers/{teacher_id}:confirm", json=body)


def evaluate(world, teacher_id, http=None, query=None, **body):
    url = f"/v1/teachers/{teacher_id}:evaluate"
    return (http or world.http).post(url, json=body, params=query)


def model(**changes):
    return {**deepcopy(MODEL), **changes}


# ── confirming ──────────────────────────────────────────────────────────────────────────────────


def test_an_upload_needs_no_declaration_and_shows_what_it_was_recognised_as(world):
    teacher_id = sent(world)
    before = world.http.get(f"/v1/teachers/{teacher_id}").json()

    recognise(world, teacher_id)

    assert (before["state"], before["model"], before["classes"]) == ("checking", {}, [])
    assert before["recognised"] is None
    teacher = world.http.get(f"/v1/teachers/{teacher_id}").json()
    assert (teacher["state"], teacher["model"], teacher["classes"]) == ("unconfirmed", {}, [])
    assert teacher["recognised"]["backbone"] == "resnet18"
    assert teacher["recognised"]["class_names"] == ["cat", "dog"]
    assert list(world.services.library.teachers_to_check()) == []


def test_a_job_cannot_use_it_and_the_refusal_says_how_to_confirm_it(world):
    teacher_id = unconfirmed(world)

    answer = world.http.post("/v1/jobs", json=world.distill_spec(teacher=teacher_id))

    problem = problem_of(answer, 409, "not_ready")
    assert f"POST /v1/teachers/{teacher_id}:confirm" in problem["detail"]


def test_confirmed_it_is_what_was_recognised_with_the_weights_as_they_were(world):
    teacher_id = unconfirmed(world)

    answer = confirm(world, teacher_id)

    assert answer.status_code == 202, answer.text
    teacher = answer.json()
    assert (teacher["state"], teacher["classes"]) == ("ready", ["cat", "dog"])
    assert (teacher["model"]["head_width"], teacher["model"]["norm_groups"]) == (64, 8)
    assert teacher["sha256"] == hashlib.sha256(WEIGHTS).hexdigest()
    world.submitted(world.distill_spec(teacher=teacher_id))
    (event,) = [e for e in world.services.audit.events() if e.action == "confirm_teacher"]
    assert (event.thing, event.details["classes"]) == (f"teachers/{teacher_id}", 2)


def test_names_that_were_not_recognised_are_given_and_must_be_as_many(world):
    teacher_id = unconfirmed(world, class_names=None)

    problem = problem_of(confirm(world, teacher_id), 422, "invalid_spec")
    assert problem["errors"][0]["pointer"] == "/classes"
    assert "the names of its 2 classes were not recognised" in problem["detail"]
    problem = problem_of(confirm(world, teacher_id, classes=["cat"]), 422, "invalid_spec")
    assert problem["errors"] == [
        {"pointer": "/classes", "detail": "classes is declared as 1 and looks like 2"}
    ]

    assert confirm(world, teacher_id, classes=["owl", "eel"]).json()["classes"] == ["owl", "eel"]


def test_all_that_contradicts_the_tensors_is_told_field_by_field(world):
    wrong = model(detector="gfl", head_convs=2, backbone={"name": "mobilenet_v2", "width": 0.5})

    answer = confirm(world, unconfirmed(world), model=wrong, classes=["a", "b", "c"])

    found = {e["pointer"]: e["detail"] for e in problem_of(answer, 422, "invalid_spec")["errors"]}
    assert found["/model/detector"] == "detector is declared as gfl and looks like fcos"
    assert found.keys() == {
        "/model/detector",
        "/model/backbone/name",
        "/model/backbone/width",
        "/model/head_convs",
        "/classes",
    }


def test_the_checkpoints_own_names_in_another_order_are_refused(world):
    answer = confirm(world, unconfirmed(world), classes=["dog", "cat"])

    problem = problem_of(answer, 422, "invalid_spec")
    assert "class 0 is 'cat' there and 'dog' here" in problem["detail"]


def test_what_no_tensor_shows_may_be_said_otherwise(world):
    teacher = confirm(world, unconfirmed(world), model=model(norm_groups=4)).json()

    assert teacher["model"]["norm_groups"] == 4


def test_another_network_of_timm_is_another_teacher(world):
    timm = model(backbone={"name": "timm/resnet10t"})
    teacher_id = unconfirmed(world, backbone="timm/resnet10t", model=timm)
    other = model(backbone={"name": "timm/resnet14t"})

    problem = problem_of(confirm(world, teacher_id, model=other), 422, "invalid_spec")

    assert problem["errors"][0]["pointer"] == "/model/backbone/name"
    assert "checked as timm/resnet10t; register the upload again" in problem["detail"]


def test_what_was_declared_in_part_is_taken_with_what_was_recognised(world):
    classes = recognise(world, sent(world, classes=["owl", "eel"]), class_names=None)
    whole = recognise(world, sent(world, model=model(norm_groups=2)))

    assert confirm(world, classes).json()["classes"] == ["owl", "eel"]
    assert confirm(world, whole).json()["model"]["norm_groups"] == 2


def test_confirming_again_as_the_same_changes_nothing_and_as_another_is_a_conflict(world):
    teacher_id = unconfirmed(world)
    first = confirm(world, teacher_id, classes=list(CLASSES)).json()

    for body in ({}, {"classes": list(CLASSES)}, {"model": first["model"]}):
        again = confirm(world, teacher_id, **body)
        assert (again.status_code, again.json()) == (200, first)
    problem = problem_of(confirm(world, teacher_id, classes=["owl", "eel"]), 409, "conflict")
    assert "is ready, with other classes" in problem["detail"]
    other = confirm(world, teacher_id, model=model(norm_groups=2), classes=["a"])
    assert "other model and classes" in problem_of(other, 409, "conflict")["detail"]


def test_only_what_was_recognised_can_be_confirmed(world):
    checking, rejected = sent(world), sent(world)
    world.services.library.teacher_checked(rejected, message="it looks like RetinaNet")

    problem = problem_of(confirm(world, checking), 409, "not_ready")
    assert "still being checked" in problem["detail"]
    assert "RetinaNet" in problem_of(confirm(world, rejected), 409, "not_ready")["detail"]
    problem_of(confirm(world, "none"), 404, "not_found")


@pytest.mark.parametrize(
    "body", [{"classes": []}, {"classes": ["a", "a"]}, {"classes": ["a\n"]}, {"name": "big"}]
)
def test_a_confirmation_that_cannot_be_is_refused(world, body):
    problem_of(confirm(world, unconfirmed(world), **body), 422, "invalid_request")


@pytest.mark.parametrize("names", [("a", "a"), ("a", "b\x07"), ("a", "b" * 201)])
def test_a_checkpoints_own_odd_names_are_not_taken_over(world, names):
    teacher_id = unconfirmed(world, class_names=names)

    problem = problem_of(confirm(world, teacher_id), 422, "invalid_spec")

    assert problem["errors"][0]["pointer"] == "/classes"
    assert confirm(world, teacher_id, classes=["a", "b"]).status_code == 202


# ── evaluating ──────────────────────────────────────────────────────────────────────────────────


def test_a_teacher_is_evaluated_by_a_job_like_any_other(world):
    teacher_id, dataset = world.teacher(), world.dataset()

    answer = evaluate(world, teacher_id, dataset=dataset, query={"priority": "high"}, workers=0)

    assert answer.status_code == 202, answer.text
    job = answer.json()
    assert answer.headers["location"] == f"/v1/jobs/{job['id']}"
    assert (job["kind"], job["priority"], job["queue_position"]) == ("evaluate", "high", 1)
    assert (job["spec"]["teacher"], job["spec"]["dataset"]) == (teacher_id, dataset)
    assert job["spec"]["workers"] == 0
    assert world.hints.pools == ["default"]


def test_an_operators_evaluation_is_the_teachers_teams(world):
    world.team("vision")
    teacher_id, dataset = world.teacher(team="vision"), world.dataset(team="vision")

    assert evaluate(world, teacher_id, dataset=dataset).json()["team"] == "vision"


def test_an_evaluation_is_checked_as_every_job_is(world):
    teacher_id, other = world.teacher(), world.dataset(classes=("cow",))

    problem = problem_of(evaluate(world, teacher_id, dataset=other), 422, "invalid_spec")
    assert problem["errors"][0]["pointer"] == "/teacher"
    answer = evaluate(world, unconfirmed(world), dataset=world.dataset())
    assert ":confirm" in problem_of(answer, 409, "not_ready")["detail"]
    problem_of(evaluate(world, teacher_id), 422, "invalid_request")
    problem_of(evaluate(world, "none", dataset=other), 404, "not_found")
    checked = evaluate(world, teacher_id, dataset=world.dataset(), query={"validate_only": True})
    assert (checked.status_code, checked.json()["spec"]["kind"]) == (200, "evaluate")
    assert world.http.get("/v1/jobs").json()["items"] == []


def test_the_same_key_gives_the_same_evaluation(world):
    body, headers = {"dataset": world.dataset()}, {"Idempotency-Key": "one"}
    url = f"/v1/teachers/{world.teacher()}:evaluate"

    first, again = (world.http.post(url, json=body, headers=headers).json() for _ in range(2))

    assert first["id"] == again["id"]
    answer = world.http.post(url, json={**body, "batch_size": 1}, headers=headers)
    problem_of(answer, 422, "idempotency_key_reused")


# ── deleting ────────────────────────────────────────────────────────────────────────────────────


def delete(world, teacher_id):
    return world.http.delete(f"/v1/teachers/{teacher_id}")


def test_a_deleted_teacher_is_gone_with_its_weights(world):
    teacher_id = unconfirmed(world)
    key = world.services.library.teacher(teacher_id).key
    upload = world.services.library.teacher(teacher_id).upload

    answer = delete(world, teacher_id)

    assert (answer.status_code, answer.content) == (204, b"")
    problem_of(world.http.get(f"/v1/teachers/{teacher_id}"), 404, "not_found")
    problem_of(delete(world, teacher_id), 404, "not_found")
    assert world.http.get("/v1/teachers").json()["items"] == []
    with pytest.raises(NotFound):
        world.services.files.path(key)
    assert world.http.get(f"/v1/uploads/{upload}").status_code == 200
    assert "delete_teacher" in [event.action for event in world.services.audit.events()]


@pytest.mark.parametrize("kind", ["distill", "evaluate", "study"])
def test_a_teacher_that_a_job_still_needs_is_not_deleted(world, kind):
    teacher_id = world.teacher()
    spec = {
        "distill": lambda: world.distill_spec(teacher=teacher_id),
        "evaluate": lambda: {"kind": kind, "dataset": world.dataset(), "teacher": teacher_id},
        "study": lambda: {
            "kind": kind,
            "name": "which?",
            "dataset": world.dataset(),
            "teachers": {"fcos": teacher_id, "mine": {"model": MODEL}},
            "student": {"name": "mobilenet_v2"},
            "matrices": [{"axes": [{"field": "method", "values": ["fgd", "pgd"]}]}],
        },
    }[kind]()
    job_id = world.submitted(spec)

    problem = problem_of(delete(world, teacher_id), 409, "in_use")

    assert f"job {job_id} (queued)" in problem["detail"]
    assert world.http.post(f"/v1/jobs/{job_id}:cancel").status_code == 202
    assert delete(world, teacher_id).status_code == 204
    assert teacher_id in str(world.http.get(f"/v1/jobs/{job_id}").json()["spec"])


def test_a_job_that_runs_keeps_its_teacher(world):
    teacher_id = world.teacher()
    job, claim = world.running(world.distill_spec(teacher=teacher_id))

    problem_of(delete(world, teacher_id), 409, "in_use")
    world.services.jobs.finish(claim, Reason.DIVERGED, "NaN")

    assert delete(world, teacher_id).status_code == 204
    answer = world.http.post("/v1/jobs", json=job.spec)
    assert problem_of(answer, 422, "invalid_spec")["errors"][0]["pointer"] == "/teacher"


def test_a_jobs_own_file_stays_when_the_teacher_made_of_it_goes(world):
    job_id = world.succeeded({"detector.safetensors": b"weights"})
    body = {"name": "big", "source": {"job": job_id}}
    teacher_id = world.http.post("/v1/teachers", json=body).json()["id"]

    assert delete(world, teacher_id).status_code == 204

    file = world.http.get(f"/v1/jobs/{job_id}/artifacts/detector.safetensors")
    assert file.content == b"weights"


def test_a_student_outlives_its_teacher(world):
    teacher_id = world.teacher()
    spec = world.distill_spec(teacher=teacher_id)
    job_id = world.succeeded({"student.safetensors": b"weights"}, spec)

    assert delete(world, teacher_id).status_code == 204

    body = {"name": "small", "source": {"job": job_id}}
    student = world.http.post("/v1/teachers", json=body).json()
    assert (student["state"], student["model"]["detector"]) == ("ready", "fcos")
    assert student["model"]["backbone"]["name"] == "mobilenet_v2"


def test_weights_that_cannot_be_deleted_now_hold_up_nothing(world, monkeypatch):
    teacher_id = unconfirmed(world)

    def broken(_key):
        raise OSError("the disk is gone")

    monkeypatch.setattr(world.services.files, "delete", broken)

    assert delete(world, teacher_id).status_code == 204


# ── the document ────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("path", "method", "statuses"),
    [
        ("/v1/teachers/{teacher_id}:confirm", "post", {"200", "202", "400", "404", "409", "413"}),
        ("/v1/teachers/{teacher_id}:evaluate", "post", {"200", "202", "400", "404", "409", "413"}),
        ("/v1/teachers/{teacher_id}", "delete", {"204", "404", "409"}),
    ],
)
def test_every_answer_is_declared(world, path, method, statuses):
    operation = world.http.get("/openapi.json").json()["paths"][path][method]

    everywhere = {"401", "403", "422", "429", "500"}
    assert set(operation["responses"]) == statuses | everywhere
    refusals = {status: r for status, r in operation["responses"].items() if status >= "400"}
    assert {media for r in refusals.values() for media in r["content"]} == {MEDIA_TYPE}
    assert operation["x-role"] == "submitter"


def test_every_example_of_a_body_is_taken(world):
    paths = world.http.get("/openapi.json").json()["paths"]
    dataset = world.dataset()
    for action in ("confirm", "evaluate"):
        operation = paths[f"/v1/teachers/{{teacher_id}}:{action}"]["post"]
        for example in operation["requestBody"]["content"]["application/json"]["examples"].values():
            body = example["value"] | ({"dataset": dataset} if action == "evaluate" else {})
            teacher_id = unconfirmed(world) if action == "confirm" else world.teacher()
            answer = world.http.post(f"/v1/teachers/{teacher_id}:{action}", json=body)
            assert answer.status_code == 202, answer.text
