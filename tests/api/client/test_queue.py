"""The queue, workers, teams and what is asked of jobs, from Python against a live server."""

from __future__ import annotations

import pytest

from api.client import ApiError, Client


@pytest.fixture
def client(url):
    with Client(url) as client:
        yield client


def test_a_job_is_placed_moved_paused_resumed_cancelled_and_tried_again(world, client):
    team = world.team("vision")
    job = client.submit(
        world.train_spec(team), team=team, pool="big", priority="low", gpus=2, min_memory_mb=40_000
    )
    assert (job.team, job.pool, job.priority) == ("vision", "big", "low")
    assert (job.gpus, job.min_memory_mb) == (2, 40_000)

    moved = client.change(job.id, priority="high", pool=None, gpus=1)
    assert (moved.priority, moved.pool, moved.gpus) == ("high", "big", 1)
    assert client.pause(job.id).state == "paused"
    assert client.resume(job.id).queue_position == 1
    assert client.cancel(job.id).state == "cancelled"
    assert client.retry(job.id).state == "queued"
    assert [found.id for found in client.jobs(team=team, pool="big").items] == [job.id]
    assert client.jobs(team="default").items == []


def test_what_is_left_out_of_a_submit_is_the_services_default(world, client):
    job = client.submit(world.train_spec(), team=None, gpus=None)

    assert (job.team, job.pool, job.priority, job.gpus) == ("default", "default", "normal", 1)


def test_a_check_looks_at_the_placement_too(world, client):
    assert client.validate(world.train_spec(), team="default").valid

    with pytest.raises(ApiError, match="there are default") as caught:
        client.validate(world.train_spec(), team="none")
    assert caught.value.errors[0]["parameter"] == "team"


def test_a_change_of_nothing_is_refused(world, client):
    with pytest.raises(ApiError, match="nothing to change"):
        client.change(world.submitted())


def test_the_queue_is_seen_whole_by_pool_and_piece_by_piece(world, client):
    ids = [world.submitted() for _ in range(3)]
    other = world.submitted(pool="big")

    assert [pool.name for pool in client.queue().pools] == ["big", "default"]
    (big,) = client.queue(pool="big").pools
    assert [job.id for job in big.waiting.items] == [other]
    (piece,) = client.queue(pool="default", after=1, limit=1).pools
    assert [job.id for job in piece.waiting.items] == [ids[1]]
    assert (piece.waiting_jobs, piece.waiting.has_more) == (3, True)


def test_workers_are_listed_shown_drained_and_undrained_whatever_their_names(world, client):
    name = "gpu 1/a?b#c%2F"
    world.worker("gone")
    world.services.workers.stopped("gone")
    world.worker("gpu-1")

    assert [worker.name for worker in client.workers()] == ["gpu-1"]
    assert [worker.name for worker in client.workers(gone_too=True)] == ["gone", "gpu-1"]
    assert client.worker("gpu-1").devices[0].name == "H100"
    assert client.drain("gpu-1").state == "draining"
    assert client.undrain("gpu-1").state == "active"
    with pytest.raises(ApiError) as caught:
        client.drain(name)
    assert caught.value.status == 404


def test_a_team_is_made_and_listed(client):
    made = client.put_team("vision", weight=2, max_running_gpus=4)

    assert (made.weight, made.max_running_gpus, made.max_queued_jobs) == (2, 4, None)
    assert [team.name for team in client.teams()] == ["default", "vision"]


def test_watching_a_job_that_waits_is_not_told_of_every_second_of_its_estimate(world, client):
    world.worker("gpu-1")
    job_id = world.submitted()
    asked = 0
    look = client.job

    def noted(wanted):
        nonlocal asked
        asked += 1
        world.forget()
        if asked == 5:
            client.cancel(job_id)
        return look(wanted)

    client.job = noted
    watched = list(client.watch(job_id, interval_s=0))

    assert watched[0].starts_at is not None
    assert watched[-1].state == "cancelled"
    assert len(watched) <= 3  # a minute may just have passed
