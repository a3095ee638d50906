"""Server-Sent Events of a job: in order, to the end, and again from where they stopped."""

from __future__ import annotations

import json

import httpx
import pytest
from httpx_sse import connect_sse

from pgd_core.jobs.job import Reason
from pgd_core.jobs.run import ProgressLine
from tests.api.answers import problem_of


def line(**rest):
    return ProgressLine(type="train", at="2026-01-02T03:04:05+00:00", **rest)


def read(text):
    """(id, event, data) of each message."""
    found = []
    for block in text.split("\n\n"):
        fields = dict(part.split(": ", 1) for part in block.splitlines() if part[:1] != ":")
        if "data" in fields:
            data = json.loads(fields["data"])
            found.append((fields.get("id"), fields.get("event"), data))
    return found


def told(source):
    """The messages; comments are none."""
    return (message for message in source.iter_sse() if message.data)


def ended_job(world, lines=0):
    job, claim = world.running()
    if lines:
        world.beat(claim, *(line(iteration=n) for n in range(lines)))
    world.services.jobs.finish(claim, Reason.COMPLETED)
    return job.id


@pytest.fixture
def http(url, world):
    headers = {"Authorization": f"Bearer {world.secret}"}
    with httpx.Client(base_url=url, headers=headers, trust_env=False, timeout=20) as http:
        yield http


def test_a_job_that_has_ended_is_told_whole_and_then_the_end(world):
    job_id = ended_job(world)

    answer = world.http.get(f"/v1/jobs/{job_id}/events/stream")
    *events, end = read(answer.text)

    assert answer.headers["content-type"].startswith("text/event-stream")
    polled = world.http.get(f"/v1/jobs/{job_id}/events").json()["items"]
    assert [data for _, _, data in events] == polled
    assert [number for number, _, _ in events] == ["1", "2", "3", "4"]
    assert end == (None, "end", {"state": "succeeded"})


def test_metrics_are_streamed_as_they_are_polled_over_many_pages(world):
    job_id = ended_job(world, lines=450)

    *lines, end = read(world.http.get(f"/v1/jobs/{job_id}/metrics/stream").text)

    assert [data["iteration"] for _, _, data in lines] == list(range(450))
    assert lines[0][2] == world.http.get(f"/v1/jobs/{job_id}/metrics").json()["items"][0]
    assert end[1] == "end"


def test_a_stream_goes_on_after_the_last_id_that_the_client_saw(world):
    url = f"/v1/jobs/{ended_job(world)}/events/stream"

    again = read(world.http.get(url, headers={"Last-Event-ID": "2"}).text)
    after = read(world.http.get(url, params={"after": 3}).text)
    done = read(world.http.get(url, headers={"Last-Event-ID": "4"}).text)

    assert [number for number, _, _ in again] == ["3", "4", None]
    assert [number for number, _, _ in after] == ["4", None]
    assert [event for _, event, _ in done] == ["end"]


@pytest.mark.parametrize("last", ["-1", "x", "1e3", str(2**60)])
def test_an_impossible_last_id_is_refused(world, last):
    url = f"/v1/jobs/{ended_job(world)}/events/stream"

    problem_of(world.http.get(url, headers={"Last-Event-ID": last}), 422, "invalid_request")


def test_no_stream_of_a_job_that_is_not_there(world):
    problem_of(world.http.get("/v1/jobs/none/events/stream"), 404, "not_found")


def test_events_arrive_while_the_job_goes_on_and_none_is_lost_by_a_broken_connection(http, world):
    job_id = world.submitted()
    url = f"/v1/jobs/{job_id}/events/stream"
    with connect_sse(http, "GET", url) as source:
        messages = told(source)
        first = next(messages)
        world.http.post(f"/v1/jobs/{job_id}:pause")
        second = next(messages)
    world.http.post(f"/v1/jobs/{job_id}:resume")  # while nobody listens
    with connect_sse(http, "GET", url, headers={"Last-Event-ID": second.id}) as source:
        messages = told(source)
        third = next(messages)
        world.http.post(f"/v1/jobs/{job_id}:cancel")
        fourth, end = messages

    kinds = [json.loads(message.data)["kind"] for message in (first, second, third, fourth)]
    assert kinds == ["submitted", "paused", "resumed", "cancelled"]
    assert [message.id for message in (first, second, third, fourth)] == ["1", "2", "3", "4"]
    assert (end.event, end.data) == ("end", '{"state": "cancelled"}')
