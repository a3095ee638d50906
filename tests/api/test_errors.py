"""Every error speaks RFC 9457."""

from __future__ import annotations

import json
import re

import pytest
import structlog

from api.errors import STATUS, json_pointer, status_of
from api.examples import JOB_EXAMPLES
from api.limits import MAX_JSON_BYTES
from api.routes.problem_pages import meanings
from pgd_core import errors
from pgd_core.jobs.spec import job_spec_adapter
from tests.api.answers import problem_of

JSON = {"Content-Type": "application/json"}


def test_every_error_of_the_tree_has_a_status():
    assert status_of(errors.IllegalMove) == 409
    assert status_of(errors.LeaseLost) == 409
    assert status_of(errors.OutOfMemory) == 500
    assert all(issubclass(error, errors.PgdError) for error in STATUS)


def test_every_code_has_a_meaning():
    found = meanings()

    assert {"not_found", "invalid_request", "illegal_move", "too_large", "not_ready"} <= set(found)
    assert all(found.values())


def test_an_unknown_address_is_a_problem(world):
    problem_of(world.http.get("/v2/jobs"), 404, "not_found")


def test_a_wrong_method_is_a_problem_that_names_the_right_ones(world):
    answer = world.http.delete("/v1/jobs")

    problem_of(answer, 405, "method_not_allowed")
    assert answer.headers["allow"] == "GET, POST"
    assert world.http.put("/v1/jobs/1").headers["allow"] == "GET, PATCH"
    assert world.http.post("/v1/jobs/1/artifacts/a").headers["allow"] == "GET, HEAD"
    assert world.http.put("/v1/jobs/1:cancel").headers["allow"] == "POST"


@pytest.mark.parametrize("body", [b"", b"{", b"\xff\xfe", b"[" * 100_000, b"kind=train"])
def test_a_body_that_is_not_json_is_a_problem(world, body):
    answer = world.http.post("/v1/jobs", content=body, headers=JSON)

    assert answer.status_code in (400, 422)
    assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize("body", [b"null", b"7", b'"text"', b"[]", b'{"kind": null}', b"{}"])
def test_json_that_is_no_job_is_a_problem(world, body):
    problem_of(world.http.post("/v1/jobs", content=body, headers=JSON), 422, "invalid_request")


def test_half_a_surrogate_pair_breaks_nothing(world):
    body = b'{"kind": "train", "\\ud800": 1, "name": "\\ud800"}'

    answer = world.http.post("/v1/jobs", content=body, headers=JSON)

    problem_of(answer, 422, "invalid_request")


def test_json_sent_as_something_else_is_a_problem(world):
    answer = world.http.post("/v1/jobs", content=b"{}", headers={"Content-Type": "text/plain"})

    problem_of(answer, 422, "invalid_request")


def test_a_body_over_the_cap_is_refused_by_its_length(world):
    answer = world.http.post("/v1/jobs", content=b" " * (MAX_JSON_BYTES + 1), headers=JSON)

    problem_of(answer, 413, "too_large")


def test_a_body_over_the_cap_is_refused_as_it_comes(world):
    pieces = (b" " * 100_000 for _ in range(11))

    problem_of(world.http.post("/v1/jobs", content=pieces, headers=JSON), 413, "too_large")


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
def test_a_page_of_another_site_changes_nothing(world, site):
    headers = {"Sec-Fetch-Site": site}
    job_id = world.submitted()

    problem_of(world.http.post("/v1/uploads", content=b"x", headers=headers), 403, "forbidden")
    answer = world.http.post(f"/v1/jobs/{job_id}:cancel", headers=headers)
    problem_of(answer, 403, "forbidden")
    assert world.http.get(f"/v1/jobs/{job_id}", headers=headers).json()["state"] == "queued"


def test_a_defect_is_a_problem_that_tells_nothing_of_the_inside(world, monkeypatch):
    def broken(_):
        raise RuntimeError("secret: /srv/keys")

    monkeypatch.setattr(world.services.jobs, "get", broken)

    with structlog.testing.capture_logs() as logged:
        problem = problem_of(world.http.get("/v1/jobs/some"), 500, "internal_error")

    assert "secret" not in str(problem)
    assert [line["event"] for line in logged] == ["defect"]


def test_many_wrong_fields_are_all_listed_and_a_few_said(world):
    body = {"kind": "train", **{f"field{n}": n for n in range(9)}}

    problem = problem_of(world.http.post("/v1/jobs", json=body), 422, "invalid_request")

    assert len(problem["errors"]) == 11  # and the two that are missing
    assert "and 8 more" in problem["detail"]


def test_answers_carry_the_requests_id(world):
    ours = world.http.get("/livez").headers["x-request-id"]
    theirs = world.http.get("/livez", headers={"X-Request-Id": "abc-1"}).headers["x-request-id"]
    forged = world.http.get("/livez", headers={"X-Request-Id": "a b"}).headers["x-request-id"]

    assert (len(ours), theirs) == (36, "abc-1")
    assert forged != "a b"


@pytest.mark.parametrize(
    ("location", "missing", "pointer"),
    [
        (["train", "model", "backbone"], True, "/model/backbone"),
        (["train", "tags", 1], False, "/tags/1"),
        (["train", "a/b~"], False, "/a~1b~0"),
        (["train"], False, ""),
        ([], False, ""),
    ],
)
def test_pointers_follow_the_body_and_leave_union_tags_out(location, missing, pointer):
    body = {"model": {}, "tags": [1, 2], "a/b~": 1}

    assert json_pointer(location, body, missing=missing) == pointer


def test_the_document_declares_every_error_and_names_every_operation(world):
    document = world.http.get("/openapi.json").json()

    operations = [op for path in document["paths"].values() for op in path.values()]
    ids = [operation["operationId"] for operation in operations]
    assert len(set(ids)) == len(ids)
    for operation in operations:
        refused = {code: r for code, r in operation["responses"].items() if int(code) >= 400}
        for answer in refused.values():
            assert list(answer["content"]) == ["application/problem+json"]
    for reference in re.findall(r'"\$ref": "#/components/schemas/(\w+)"', json.dumps(document)):
        assert reference in document["components"]["schemas"]
    v1 = [op for path, ops in document["paths"].items() if "/v1" in path for op in ops.values()]
    assert all({"422", "500"} <= set(operation["responses"]) for operation in v1)
    posts = [path["post"] for path in document["paths"].values() if "post" in path]
    assert all("403" in operation["responses"] for operation in posts)  # see SameSite


def test_the_documents_example_of_a_distill_job_is_a_valid_spec():
    for example in JOB_EXAMPLES.values():
        job_spec_adapter.validate_python(example["value"])
