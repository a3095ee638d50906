"""The queue's commands against a live server."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest

from api.client import Client
from api.terminal import clock
from pgd_core.jobs.job import Reason
from pgd_core.jobs.run import ProgressLine


@pytest.fixture(autouse=True)
def wide(monkeypatch):
    """Tables are as wide as they need to be."""
    monkeypatch.setattr("api.queue_commands.out._width", 240)


def test_a_job_is_placed_moved_paused_resumed_cancelled_and_tried_again(world, pgd):
    world.team("vision")
    placed = ["--team", "vision", "--pool", "big", "--priority", "low", "--gpus", 2]
    spec = json.dumps(world.train_spec("vision"))
    job_id = pgd("submit", "-", *placed, "--min-memory-mb", 40_000, stdin=spec).strip()

    job = json.loads(pgd("show", job_id, "--json"))
    assert (job["team"], job["pool"], job["priority"], job["gpus"]) == ("vision", "big", "low", 2)
    moved = pgd("move", job_id, "--priority", "high", "--gpus", 1)
    assert moved.strip() == f"{job_id} queued: place 1, no worker serves pool 'big'; start one"
    assert "place 1, no worker serves pool 'big'; start one" in pgd("show", job_id)
    assert json.loads(pgd("move", job_id, "--pool", "default", "--json"))["pool"] == "default"
    assert pgd("pause", job_id).strip() == f"{job_id} paused"
    assert "place 1" in pgd("resume", job_id)
    assert "cancelled" in pgd("cancel", job_id)
    assert "queued: place 1" in pgd("retry", job_id)
    assert job_id in pgd("ls", "--team", "vision", "--pool", "default")
    assert job_id not in pgd("ls", "--pool", "big")


def test_a_running_job_is_asked_to_pause(world, pgd):
    job, _ = world.running()

    assert pgd("pause", job.id).strip() == f"{job.id} asked to pause"
    assert "only a paused job is resumed" in pgd("resume", job.id, code=1)


def test_what_cannot_be_is_told_in_a_sentence(world, pgd):
    job_id = world.submitted()

    assert "nothing to change" in pgd("move", job_id, code=1)
    assert "there are default" in pgd("move", job_id, "--team", "none", code=1)
    pgd("move", job_id, "--priority", "urgent", code=2)
    said = pgd("submit", "-", "--team", "none", stdin=json.dumps(world.train_spec()), code=1)
    assert "there are default" in said
    checked = ["submit", "-", "--validate-only", "--team", "none"]
    assert "there are default" in pgd(*checked, stdin=json.dumps(world.train_spec()), code=1)


def test_the_queue_shows_what_runs_until_when_and_what_waits_why_and_until_when(world, pgd):
    worker = world.worker("gpu-1", gpus=2)
    world.submitted(world.train_spec(name="long [1]"), gpus=2)
    job, claim = world.claimed(worker, 0, 1)
    now = datetime.now(UTC).isoformat()
    world.beat(claim, ProgressLine(type="train", at=now, done=0.5, eta_s=7200))
    waits = world.submitted(world.train_spec(name="next"), gpus=2)
    world.forget()

    lines = pgd("queue").splitlines()

    found = json.loads(pgd("queue", "--pool", "default", "--json"))["pools"][0]
    ends = clock(datetime.fromisoformat(found["running"][0]["ends_at"]))
    starts = clock(datetime.fromisoformat(found["waiting"]["items"][0]["starts_at"]))
    assert lines[0] == "pool default: 1 worker, 2 GPUs (2 busy, 0 free), 1 job waiting"
    first, second = (n for n, line in enumerate(lines) if job.id in line or waits in line)
    assert lines[first].split()[:5] == ["runs", job.id, "default", "normal", "2"]
    assert lines[first].strip().endswith(f"ends {ends}")
    assert lines[first + 1].strip() == "long [1]"
    assert lines[first + 2].strip() == "train on gpu-1, slot 0, 1"
    assert lines[second].split()[:5] == ["1", waits, "default", "normal", "2"]
    assert lines[second].strip().endswith(f"about {starts}")
    assert lines[second + 2].strip() == "no worker of pool 'default' has 2 GPUs free"


def test_a_queue_has_room_for_whole_ids_on_80_columns(world, pgd, monkeypatch):
    monkeypatch.setattr("api.queue_commands.out._width", 80)
    world.team("a-team-whose-name-is-long")
    job_id = world.submitted(team="a-team-whose-name-is-long")

    assert job_id in pgd("queue")


def test_a_long_queue_says_how_much_of_it_is_not_shown(world, pgd):
    for _ in range(3):
        world.submitted()

    assert "and 2 more" in pgd("queue", "--limit", 1)


def test_an_empty_queue_says_so(pgd):
    assert pgd("queue").strip() == "no worker is there and no job waits"
    assert pgd("queue", "--pool", "big").strip().endswith("in pool big")


def test_workers_are_listed_with_what_they_have_and_drained(world, pgd):
    worker = world.worker("gpu-1")
    world.submitted()
    world.claimed(worker, 0)
    world.services.workers.beat("gpu-1", {1: "GPU 1 is used by [another]"})
    world.forget()

    row = pgd("workers").splitlines()[-1]
    for word in ("gpu-1", "active", "2 x H100", "1 of 2", "GPU 1 is used by [another]"):
        assert word in row
    assert pgd("drain", "gpu-1").strip() == "gpu-1 is draining"
    assert pgd("drain", "gpu-1", "--undo").strip() == "gpu-1 is active"
    world.services.workers.stopped("gpu-1")
    assert "gpu-1" not in pgd("workers")
    assert "stopped" in pgd("workers", "--gone-too")
    assert json.loads(pgd("workers", "--json")) == {
        "items": [],
        "has_more": False,
        "next_after": None,
    }
    assert "no worker 'none'" in pgd("drain", "none", code=1)


def test_a_team_keeps_what_is_not_given_and_loses_a_limit_on_request(pgd):
    def team(*options):
        made = json.loads(pgd("team", "vision", *options, "--json"))
        return made["weight"], made["max_running_gpus"], made["max_queued_jobs"]

    assert team("--max-gpus", 4) == (1, 4, None)
    assert team("--weight", 2.5, "--max-queued", 9) == (2.5, 4, 9)
    assert team("--max-gpus", -1) == (2.5, None, 9)
    assert pgd("team", "vision").strip() == "team vision: weight 2.5"
    assert "greater than 0" in pgd("team", "vision", "--weight", 0, code=1)


def test_teams_are_listed_with_what_they_use(world, pgd):
    world.team("vision", 2, max_running_gpus=4)
    assert pgd("teams").splitlines()[-1].split()[:5] == ["vision", "2", "-", "-", "4"]

    worker = world.worker()
    world.submitted(team="vision")
    _, claim = world.claimed(worker, 0)
    world.services.jobs.finish(claim, Reason.COMPLETED)
    world.forget()

    assert pgd("teams").splitlines()[-1].split()[:5] == ["vision", "2", "100%", "0", "4"]
    assert len(json.loads(pgd("teams", "--json"))["items"]) == 2


def test_a_jobs_events_are_sentences_in_their_order(world, pgd):
    worker = world.worker()
    job_id = world.submitted()
    _, claim = world.claimed(worker, 0)
    world.services.jobs.finish(claim, Reason.DIVERGED, "loss_cls is NaN")
    pgd("retry", job_id)

    lines = pgd("events", job_id).splitlines()

    assert [line[21:] for line in lines] == [
        "tests submitted it for team default: pool default, class normal, 1 GPU",
        "gpu-1 took it for attempt 1, on slot 0 (H100)",
        "gpu-1 started attempt 1",
        "gpu-1 ended attempt 1, diverged (loss_cls is NaN); the job has failed; 1 of 3 attempts "
        "are used up",
        "tests asked to try it again after: diverged; it goes on from what attempt 1 left",
    ]
    assert datetime.fromisoformat(lines[0][:19])
    series = json.loads(pgd("events", job_id, "--json"))
    assert [event["sequence"] for event in series["items"]] == [1, 2, 3, 4, 5]


def test_a_history_longer_than_a_piece_is_told_to_its_end(world, pgd, monkeypatch):
    job_id = world.submitted()
    for _ in range(3):
        pgd("pause", job_id)
        pgd("resume", job_id)
    get = Client._get

    def in_small_pieces(self, path, model, **query):
        return get(self, path, model, **query | {"limit": 2})

    monkeypatch.setattr(Client, "_get", in_small_pieces)

    assert len(pgd("events", job_id).splitlines()) == 7
