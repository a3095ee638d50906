"""Following a job from Python and from the command line, over connections that break."""

from __future__ import annotations

import json
import threading

import httpx
import pytest

from api.client import ApiError, Client
from api.client import live as client_live
from pgd_core.jobs.job import Reason
from pgd_core.jobs.run import LOG_FILE, ProgressLine


@pytest.fixture
def client(url, monkeypatch):
    monkeypatch.setattr(client_live, "AGAIN_S", 0.01)
    with Client(url) as client:
        yield client


def test_events_are_followed_to_the_end(world, client):
    job, claim = world.running()
    following = client.events(job.id, follow=True)

    first = [next(following).kind for _ in range(3)]
    world.services.jobs.finish(claim, Reason.COMPLETED)

    assert first == ["submitted", "claimed", "started"]
    assert [event.kind for event in following] == ["succeeded"]
    assert [event.sequence for event in client.events(job.id, after=2, follow=True)] == [3, 4]


def test_a_stream_that_breaks_is_resumed_and_no_line_is_lost_or_told_twice(
    world, client, monkeypatch
):
    job, claim = world.running()
    world.beat(claim, *(line(n) for n in range(30)))
    world.services.jobs.finish(claim, Reason.COMPLETED)
    once, seen = client._stream_once, []

    def breaking(path, after):
        seen.append(after)
        for count, message in enumerate(once(path, after)):
            if count == 7 and len(seen) < 4:
                raise httpx.ReadError("the connection broke")
            yield message

    monkeypatch.setattr(client, "_stream_once", breaking)
    found = [each.iteration for each in client.follow_metrics(job.id)]

    assert found == list(range(30))
    assert seen == [0, 7, 14, 21]


def test_a_stream_that_the_server_cuts_is_asked_for_again(world, client):
    job_id = world.submitted()
    following = client.events(job_id, follow=True)
    assert next(following).kind == "submitted"

    for listener in list(world.services.live._listeners):
        listener._ends_at = 0.0
        listener.notify()
    timer = threading.Timer(0.1, world.services.jobs.cancel, (job_id,))
    timer.start()

    assert [event.kind for event in following] == ["cancelled"]
    timer.join()


def test_a_key_that_is_revoked_while_it_listens_is_cut_off(world, url, monkeypatch):
    monkeypatch.setattr("api.live.KEYS_EVERY_S", 0.0)
    key, secret = world.services.keys.create("gone", "default", "viewer")
    job_id = world.submitted()
    with Client(url, api_key=secret) as client:
        following = client.events(job_id, follow=True)
        next(following)
        world.services.keys.revoke(key.id)
        with pytest.raises(ApiError, match="revoked"):
            next(following)


def test_following_a_job_that_is_not_there_fails_at_once(client):
    with pytest.raises(ApiError, match="none"):
        next(client.events("none", follow=True))


def line(n):
    return ProgressLine(type="train", at="2026-01-02T03:04:05+00:00", iteration=n)


def log_of(world, job):
    path = world.services.attempt_folder(job.id, job.attempt) / LOG_FILE
    path.parent.mkdir(parents=True)
    return path


def test_a_log_is_followed_in_whole_lines_over_attempts_to_the_end(world, client):
    job, claim = world.running()
    path = log_of(world, job)
    path.write_text("one\ntw")
    following = client.follow_logs(job.id, interval_s=0)

    assert next(following) == "one\n"
    path.write_text("one\ntwo\n")
    assert next(following) == "two\n"
    world.services.jobs.finish(claim, Reason.STOPPED)
    again, claim = world.claimed(world.worker(gpus=1), 0)
    log_of(world, again).write_text("three\n")
    world.services.jobs.finish(claim, Reason.COMPLETED)
    assert [text for text in following if text] == ["three\n"]


def test_a_whole_log_is_downloaded(world, client, tmp_path):
    job, _ = world.running()
    log_of(world, job).write_text("a line\n" * 50_000)

    path = client.download_log(job.id, tmp_path)

    assert path.name == f"{job.id}-attempt-1.log"
    assert path.read_text() == "a line\n" * 50_000
    assert list(tmp_path.glob(".*.part")) == []


def test_the_commands_follow_and_print(world, pgd, tmp_path):
    job, claim = world.running()
    log_of(world, job).write_text("loading\n")
    world.services.jobs.finish(claim, Reason.COMPLETED)

    assert pgd("logs", job.id) == pgd("logs", job.id, "--follow") == "loading\n"
    file = tmp_path / "a.log"
    assert pgd("logs", job.id, "--download", file).strip() == str(file)
    told = pgd("events", job.id, "--follow").splitlines()
    assert told[0].endswith("class normal, 1 GPU")
    kinds = [
        json.loads(text)["kind"] for text in pgd("events", job.id, "-f", "--json").split("\n")[:-1]
    ]
    assert kinds == ["submitted", "claimed", "started", "succeeded"]


def test_webhooks_from_the_command_line(pgd):
    webhook_id, secret = pgd(
        "webhooks", "add", "https://hooks.example/pgd", "--kind", "failed"
    ).split()

    assert secret.startswith("whsec_")
    assert "failed" in pgd("webhooks", "ls")
    delivery = pgd("webhooks", "test", webhook_id).strip()
    listed = json.loads(pgd("webhooks", "deliveries", webhook_id, "--json"))["items"]
    assert [(sent["id"], sent["state"]) for sent in listed] == [(delivery, "pending")]
    assert "pending" in pgd("webhooks", "deliveries", webhook_id)
    assert "told no more" in pgd("webhooks", "rm", webhook_id)
    assert json.loads(pgd("webhooks", "ls", "--json"))["items"] == []
    assert "https://" in pgd("webhooks", "add", "http://hooks.example", code=1)
