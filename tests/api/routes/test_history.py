"""Metrics, events and logs of a job."""

from __future__ import annotations

import pytest

from pgd_core.jobs.run import ProgressLine
from tests.api.answers import problem_of


def line(type="train", **rest):
    return ProgressLine(type=type, at="2026-01-02T03:04:05+00:00", **rest)


def test_progress_and_time_left_are_the_jobs_own(world):
    job, claim = world.running()
    world.beat(claim, line(done=0.25, eta_s=12.5, losses={"loss_cls": 0.7}))

    view = world.http.get(f"/v1/jobs/{job.id}").json()

    assert (view["state"], view["done"], view["eta_s"]) == ("running", 0.25, 12.5)
    assert view["progress"]["losses"] == {"loss_cls": 0.7}


def test_metrics_come_in_order_and_go_on_where_they_stopped(world):
    job, claim = world.running()
    world.beat(claim, *(line(iteration=n) for n in range(5)))
    url = f"/v1/jobs/{job.id}/metrics"

    first = world.http.get(url, params={"limit": 3}).json()
    rest = world.http.get(url, params={"after": first["next_after"]}).json()
    nothing = world.http.get(url, params={"after": rest["next_after"]}).json()

    assert [item["iteration"] for item in first["items"]] == [0, 1, 2]
    assert first["has_more"] is True
    assert [item["iteration"] for item in rest["items"]] == [3, 4]
    assert rest["has_more"] is False
    assert nothing == {"items": [], "has_more": False, "next_after": rest["next_after"]}


def test_metrics_of_one_type(world):
    job, claim = world.running()
    world.beat(claim, line(), line("validation", metrics={"AP": 30.0}), line())

    items = world.http.get(f"/v1/jobs/{job.id}/metrics?type=validation").json()["items"]

    assert [item["metrics"] for item in items] == [{"AP": 30.0}]


@pytest.mark.parametrize(
    "query", ["after=-1", "after=x", "after=2147483648", "limit=0", "type=paint", "afer=3"]
)
def test_an_impossible_piece_of_the_metrics_is_refused(world, query):
    answer = world.http.get(f"/v1/jobs/{world.submitted()}/metrics?{query}")

    problem_of(answer, 422, "invalid_request")


def test_events_tell_the_jobs_history(world):
    job, _ = world.running()
    world.http.post(f"/v1/jobs/{job.id}:cancel")
    url = f"/v1/jobs/{job.id}/events"

    events = world.http.get(url).json()

    kinds = [event["kind"] for event in events["items"]]
    assert kinds == ["submitted", "claimed", "started", "cancel_requested"]
    assert world.http.get(url, params={"after": events["next_after"]}).json()["items"] == []


def log_of(world, job_id, attempt, content):
    path = world.settings.data_folder / "attempts" / job_id / str(attempt) / "trainer.log"
    path.parent.mkdir(parents=True)
    path.write_bytes(content)


def test_the_log_is_the_newest_attempts_as_plain_text(world):
    job, _ = world.running()
    log_of(world, job.id, 1, "épreuve\nfin\n".encode())

    answer = world.http.get(f"/v1/jobs/{job.id}/logs")

    assert answer.text == "épreuve\nfin\n"
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    assert answer.headers["x-content-type-options"] == "nosniff"


def test_a_log_is_cut_at_the_start_of_a_line(world):
    job, _ = world.running()
    log_of(world, job.id, 1, b"first line\nsecond\nthird\n")

    assert world.http.get(f"/v1/jobs/{job.id}/logs?tail_bytes=15").text == "second\nthird\n"


def test_a_log_without_a_line_break_is_cut_where_it_must_be(world):
    job, _ = world.running()
    log_of(world, job.id, 1, b"x" * 1000)

    assert world.http.get(f"/v1/jobs/{job.id}/logs?tail_bytes=10").text == "x" * 10


def test_a_log_that_is_not_text_does_no_harm(world):
    job, _ = world.running()
    log_of(world, job.id, 1, b"\xff\xfe\n")

    assert world.http.get(f"/v1/jobs/{job.id}/logs").status_code == 200


def test_a_job_that_never_started_has_no_log(world):
    problem = problem_of(world.http.get(f"/v1/jobs/{world.submitted()}/logs"), 404, "not_found")

    assert "not started" in problem["detail"]


def test_an_attempt_that_never_was_has_no_log(world):
    job, _ = world.running()

    problem_of(world.http.get(f"/v1/jobs/{job.id}/logs?attempt=7"), 404, "not_found")


@pytest.mark.parametrize("query", ["attempt=0", "attempt=../1", "tail_bytes=0", "tail_bytes=1e9"])
def test_an_impossible_log_is_refused(world, query):
    job, _ = world.running()

    problem_of(world.http.get(f"/v1/jobs/{job.id}/logs?{query}"), 422, "invalid_request")
