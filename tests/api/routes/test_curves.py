"""Curves of a job, and its whole log as a file."""

from __future__ import annotations

import pytest

from api.downloads import LogResponse
from pgd_core.jobs.run import LOG_FILE, ProgressLine
from tests.api.answers import problem_of


def line(n, **rest):
    at = "2026-01-02T03:04:05+00:00"
    values = {"losses": {"loss_cls": float(n)}, "learning_rate": 0.1} | rest
    return ProgressLine(type="train", at=at, variant="distilled", iteration=n, **values)


def test_curves_are_thinned_out_and_the_extremes_stay(world):
    job, claim = world.running()
    world.beat(claim, *(line(n) for n in range(1000)), line(1000, losses={"loss_cls": -5.0}))

    answer = world.http.get(f"/v1/jobs/{job.id}/metrics/series?keys=loss,lr,none&points=50").json()

    loss, rate = answer["curves"]
    assert (loss["key"], loss["variant"], rate["key"]) == ("loss", "distilled", "lr")
    assert len(loss["iterations"]) == len(loss["values"]) == len(loss["epochs"]) <= 50
    assert (loss["values"][0], loss["values"][-1], max(loss["values"])) == (0.0, -5.0, 999.0)
    assert answer["keys"] == ["loss", "loss_cls", "lr"]


def test_a_job_without_lines_has_no_curves(world):
    answer = world.http.get(f"/v1/jobs/{world.submitted()}/metrics/series").json()

    assert answer == {"curves": [], "keys": []}


@pytest.mark.parametrize("query", ["points=3", "points=5001", "key=loss", "keys=%00"])
def test_impossible_curves_are_refused(world, query):
    answer = world.http.get(f"/v1/jobs/{world.submitted()}/metrics/series?{query}")

    problem_of(answer, 422, "invalid_request")


@pytest.fixture
def logged(world):
    """(job id, path) of a running job's log of 100,000 bytes."""
    job, _ = world.running()
    path = world.services.attempt_folder(job.id, 1) / LOG_FILE
    path.parent.mkdir(parents=True)
    path.write_bytes(b"0123456789" * 10_000)
    return job.id, path


def test_the_whole_log_is_a_file(world, logged):
    job_id, path = logged

    answer = world.http.get(f"/v1/jobs/{job_id}/logs/download")

    assert answer.content == path.read_bytes()
    name = f"{job_id}-attempt-1.log"
    assert answer.headers["content-disposition"] == f'attachment; filename="{name}"'
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"


def test_a_download_goes_on_where_it_broke_off(world, logged):
    url = f"/v1/jobs/{logged[0]}/logs/download"

    rest = world.http.get(url, headers={"Range": "bytes=99990-"})

    assert (rest.status_code, rest.content) == (206, b"0123456789")
    assert rest.headers["content-range"] == "bytes 99990-99999/100000"
    outside = world.http.get(url, headers={"Range": "bytes=100000-"})
    problem_of(outside, 416, "range_not_satisfiable")


def test_a_log_that_grows_meanwhile_is_sent_as_far_as_was_announced(world, logged, monkeypatch):
    job_id, path = logged
    begin = LogResponse.__init__

    def begin_and_grow(self, *arguments):
        begin(self, *arguments)
        with path.open("ab") as file:
            file.write(b"more" * 50_000)

    monkeypatch.setattr(LogResponse, "__init__", begin_and_grow)
    answer = world.http.get(f"/v1/jobs/{job_id}/logs/download")

    assert answer.headers["content-length"] == "100000"
    assert len(answer.content) == 100_000


def test_a_job_that_never_started_and_an_attempt_that_never_was_have_no_log(world, logged):
    problem_of(world.http.get(f"/v1/jobs/{world.submitted()}/logs/download"), 404, "not_found")
    url = f"/v1/jobs/{logged[0]}/logs/download?attempt=7"
    problem_of(world.http.get(url), 404, "not_found")
