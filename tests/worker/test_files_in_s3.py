"""What a worker does with a bucket in the place of a folder."""

from __future__ import annotations

import hashlib
from datetime import timedelta

import pytest

from pgd_core.files import open_files
from pgd_core.jobs.job import JobState
from pgd_core.jobs.machine import Offer
from pgd_core.settings import Settings
from pgd_core.store import SqlHousekeeping
from tests.servers import free_port
from tests.worker.conftest import RUN_OUT, distillation, make_old
from worker.sweep import Retention, sweep

HEAVY = b"heavy"


@pytest.fixture
def settings(tmp_path, s3_server, monkeypatch):
    return Settings(data_folder=tmp_path, files_url=f"s3://{s3_server.bucket(monkeypatch)}")


@pytest.fixture
def world(world, settings):
    world.files = open_files(settings)
    return world


def test_a_job_gets_its_teacher_from_the_bucket_and_publishes_there(world):
    job = distillation(world, HEAVY)

    world.runner().work()

    assert world.jobs.get(job.id).state is JobState.SUCCEEDED
    artifacts = {artifact.name: artifact for artifact in world.jobs.artifacts(job.id)}
    weights = artifacts["student.pth"]
    assert weights.sha256 == hashlib.sha256(b"weights").hexdigest()
    assert world.files.path(weights.key).read_bytes() == b"weights"
    assert world.files.keys(f"jobs/{job.id}/1") == sorted(a.key for a in artifacts.values())


def test_a_bucket_that_is_away_is_no_failure_of_the_job(world, settings, monkeypatch):
    job, there = distillation(world, HEAVY), world.files
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", f"http://127.0.0.1:{free_port()}")
    world.files = open_files(settings)

    world.runner()._run_next()  # cannot fetch its teacher
    tried = world.jobs.get(job.id)
    world.files = there
    world.runner().work()

    assert (tried.state, tried.attempt) == (JobState.QUEUED, 1)
    assert world.jobs.get(job.id).state is JobState.SUCCEEDED


def test_files_of_an_attempt_that_lost_its_lease_are_swept_from_the_bucket(world):
    job = world.submit("succeed")
    _, claim = world.jobs.claim(Offer("worker-1", "default"), RUN_OUT)
    world.jobs.started(claim)
    outputs = world.attempts / job.id / "1" / "outputs"
    outputs.mkdir(parents=True)
    (outputs / "student.pth").write_bytes(b"weights")
    world.files.put(f"jobs/{job.id}/1/student.pth", outputs / "student.pth")
    world.jobs.expire_leases()

    make_old(outputs.parent, timedelta(hours=2))
    kept = Retention(timedelta(days=7), timedelta(days=90), timedelta(days=7))
    sweep(world.folder, world.jobs, world.files, SqlHousekeeping(world.engine), kept)

    assert world.files.keys(f"jobs/{job.id}/1") == []
    assert not outputs.exists()
