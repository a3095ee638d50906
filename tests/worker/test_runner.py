from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from datetime import timedelta

import pytest

from pgd_core.jobs.job import Claim, JobState
from pgd_core.jobs.machine import Offer
from pgd_core.jobs.spec import BackboneSpec, DetectorSpec
from tests.worker.conftest import RUN_OUT, distillation, distillation_by, living, wait_for
from worker.supervisor import Limits

MINUTE = timedelta(minutes=1)


# How an attempt can end


def test_a_success_is_published_with_its_checksums(world):
    job = world.run("succeed")

    assert (job.state, job.reason, job.result) == ("succeeded", "completed", {"AP": 0.5})
    stored = {artifact.name: artifact for artifact in world.jobs.artifacts(job.id)}
    assert sorted(stored) == ["metrics.json", "student.pth"]  # a folder is no artifact
    weights = stored["student.pth"]
    assert weights.key == f"jobs/{job.id}/1/student.pth"
    assert weights.sha256 == hashlib.sha256(b"weights").hexdigest()
    assert (weights.size, weights.media_type) == (7, "application/octet-stream")
    assert stored["metrics.json"].media_type == "application/json"
    assert world.files.path(weights.key).read_bytes() == b"weights"


def test_after_a_success_the_checkpoints_are_gone(world):
    job = world.run("succeed")

    folder = world.attempts / job.id / "1"
    assert folder.is_dir()
    assert not (folder / "work").exists()


def test_what_was_published_is_on_the_disk_once(world):
    job = world.run("succeed")

    assert not (world.attempts / job.id / "1" / "outputs").exists()
    found = [path for path in world.folder.rglob("student.pth") if path.is_file()]
    assert found == [world.files.path(f"jobs/{job.id}/1/student.pth")]


def test_every_line_of_progress_is_stored(world):
    job = world.run("succeed")

    lines = world.jobs.progress_lines(job.id)
    assert [(sequence, line.iteration) for sequence, line in lines] == [(1, 1), (2, 2)]
    assert job.progress["iteration"] == 2


def test_a_failure_is_told_in_the_trainer_s_words(world):
    job = world.run("diverge")

    assert (job.state, job.reason) == ("failed", "diverged")
    assert job.message == "loss_cls is nan at iteration 1"
    assert world.jobs.artifacts(job.id) == []


def test_a_crash_is_told_with_the_end_of_the_log(world):
    job = world.run("crash")

    assert (job.state, job.reason) == ("failed", "internal_error")
    assert "code 1" in job.message
    assert "RuntimeError: something is wrong inside" in job.message


def test_a_trainer_that_was_killed_is_tried_again_until_the_last_attempt(world):
    job = world.run("killed")

    assert (job.state, job.reason, job.attempt) == ("failed", "worker_lost", 3)
    assert "SIGKILL" in job.message


def test_what_a_trainer_leaves_behind_is_ended(world):
    job = world.run("leave_child_behind")

    assert job.state is JobState.SUCCEEDED
    assert living(job) == []


def test_an_attempt_that_takes_too_long_is_stopped(world):
    job = world.run("gentle", limits=Limits(max_duration_s=0.1, poll_s=0.02))

    assert (job.state, job.reason) == ("failed", "max_duration")


def test_jobs_run_one_after_another_until_none_is_left(world):
    jobs = [world.submit("succeed") for _ in range(3)]

    assert world.runner().work() == 3
    assert {world.jobs.get(job.id).state for job in jobs} == {JobState.SUCCEEDED}


# What the trainer is given


def test_the_trainer_gets_ids_resolved_to_files_and_none_of_our_settings(world, monkeypatch):
    monkeypatch.setenv("PGD_DATABASE_URL", "postgresql://user:secret@host/pgd")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    job = world.run("tell_environment")

    run = json.loads((world.attempts / job.id / "1" / "run.json").read_text())
    assert run["dataset"]["train_annotations"] == "/t.json"
    assert run["dataset"]["classes"] == ["0", "1"]
    assert run["job"]["name"] == "tell_environment"
    environment = world.files.path(f"jobs/{job.id}/1/environment.json").read_text()
    assert "secret" not in environment
    assert json.loads(environment)["PGD_TRAINER"] == f"{job.id}/1"


def distil_with(world, teacher):
    job = distillation_by(world, teacher)
    world.runner().work()
    return world.jobs.get(job.id)


def test_a_distillation_gets_its_teacher_s_file(world):
    id = distillation(world, b"heavy").id
    world.runner().work()

    job = world.jobs.get(id)
    assert job.state is JobState.SUCCEEDED
    run = json.loads((world.attempts / job.id / "1" / "run.json").read_text())
    model = DetectorSpec(detector="fcos", backbone=BackboneSpec(name="resnet50"))
    teacher = world.library.teacher(job.spec["teacher"])
    assert run["teacher"]["sha256"] == hashlib.sha256(b"heavy").hexdigest()
    assert run["teacher"]["model"] == model.model_dump(mode="json")
    assert run["teacher"]["weights"] == str(world.files.path(teacher.key))


def test_a_teacher_that_is_missing_or_unchecked_fails_the_job(world):
    model = DetectorSpec(detector="fcos", backbone=BackboneSpec(name="resnet50"))
    unchecked = world.library.add_teacher("big", model, ("0", "1"))

    for teacher, words in ((unchecked.id, "it is checking"), ("none", "no teacher none")):
        job = distil_with(world, teacher)
        assert (job.state, job.reason) == ("failed", "bad_teacher")
        assert words in job.message


def test_a_dataset_that_is_missing_or_rejected_fails_the_job(world):
    for dataset in ("none", world.add_dataset(usable=False)):
        world.dataset = dataset
        job = world.run("succeed")
        assert (job.state, job.reason) == ("failed", "bad_dataset")


# Asked to stop


def test_a_cancelled_job_stops_gently(world):
    job = world.submit("gentle")
    thread = world.start(world.runner())
    world.wait_until_training(job)
    world.jobs.cancel(job.id)
    thread.join()

    job = world.jobs.get(job.id)
    assert (job.state, job.reason) == ("cancelled", "cancelled_by_user")
    assert not (world.attempts / job.id / "1" / "work").exists()


def test_a_trainer_that_ignores_sigterm_is_killed_with_all_its_children(world):
    job = world.submit("stubborn")
    thread = world.start(world.runner(limits=Limits(stop_grace_s=0.1, poll_s=0.02)))
    world.wait_until_training(job)
    wait_for(lambda: len(living(job)) == 3)
    world.jobs.cancel(job.id)
    thread.join()

    assert living(job) == []
    assert world.jobs.get(job.id).state is JobState.CANCELLED


def test_a_shutdown_requeues_the_job_and_the_next_attempt_goes_on_from_its_checkpoint(world):
    job = world.submit("gentle_once", max_attempts=1)
    runner = world.runner()
    thread = world.start(runner)
    world.wait_until_training(job)
    runner.shut_down()
    thread.join()

    waiting = world.jobs.get(job.id)
    assert (waiting.state, waiting.reason, waiting.failures) == ("queued", "stopped", 0)
    assert runner.work() == 0

    world.runner().work()
    done = world.jobs.get(job.id)
    assert (done.state, done.attempt) == ("succeeded", 2)
    assert not list((world.attempts / job.id).glob("*/work"))


def test_a_trainer_that_shows_no_life_is_stopped_and_its_job_tried_again(world):
    job = world.submit("gentle_once")
    world.runner(limits=Limits(stop_grace_s=10, poll_s=0.02, stall_s=0.5)).work()

    stalled = [event for event in world.jobs.events(job.id) if event.kind == "requeued"]
    assert [event.data["reason"] for event in stalled] == ["stalled"]
    assert (world.jobs.get(job.id).state, world.jobs.get(job.id).failures) == ("succeeded", 1)


def test_a_trainer_that_shows_life_is_left_alone(world):
    job = world.submit("slow_but_alive")
    world.runner(limits=Limits(stop_grace_s=10, poll_s=0.02, stall_s=1)).work()

    assert (world.jobs.get(job.id).state, world.jobs.get(job.id).attempt) == ("succeeded", 1)


# The lease


def test_a_worker_whose_job_was_given_away_kills_its_trainer_and_writes_nothing(world):
    job = world.submit("stubborn")
    thread = world.start(world.runner(heartbeat_s=0.3))
    world.wait_until_training(job)
    _expire(world, job)
    _, other = world.jobs.claim(Offer("worker-2", "default"), MINUTE)
    thread.join()

    assert living(job) == []
    current = world.jobs.get(job.id)
    assert (current.worker, current.attempt, current.state) == ("worker-2", 2, "starting")
    world.jobs.started(other)


def _expire(world, job):
    """As if the worker had been silent: its lease runs out under it."""
    claim = world.jobs.get(job.id)

    def expired():
        world.jobs.heartbeat(Claim(job.id, claim.attempt, claim.lease_token), RUN_OUT)
        return world.jobs.expire_leases()

    wait_for(expired)


class Unreachable(Exception):
    pass


class FlakyJobs:
    """A store whose heartbeats fail, for ever or at first."""

    def __init__(self, jobs, failures):
        self._jobs, self._failures = jobs, failures

    def __getattr__(self, name):
        return getattr(self._jobs, name)

    def heartbeat(self, *arguments):
        self._failures -= 1
        if self._failures >= 0:
            raise Unreachable("the database is down")
        return self._jobs.heartbeat(*arguments)


def test_a_worker_that_cannot_renew_kills_its_trainer_before_the_lease_runs_out(world):
    job = world.submit("stubborn")
    store, world.jobs = world.jobs, FlakyJobs(world.jobs, failures=10**9)
    world.runner(lease_s=3).work()

    assert living(job) == []
    assert store.expire_leases() == []  # the lease still had time to go
    assert store.get(job.id).state is JobState.RUNNING


def test_renewals_that_fail_for_a_moment_lose_nothing(world):
    job = world.submit("succeed")
    store, world.jobs = world.jobs, FlakyJobs(world.jobs, failures=3)
    world.runner().work()

    assert store.get(job.id).state is JobState.SUCCEEDED
    assert len(store.progress_lines(job.id)) == 2


def test_an_unknown_stored_spec_fails_as_invalid(world, monkeypatch):
    job = world.submit("succeed")
    claim = world.jobs.claim
    monkeypatch.setattr(
        world.jobs,
        "claim",
        lambda *arguments: (
            (replace(claimed[0], spec={"kind": "of old"}), claimed[1])
            if (claimed := claim(*arguments))
            else None
        ),
    )
    world.runner().work()

    assert world.jobs.get(job.id).reason == "invalid_spec"


@pytest.mark.parametrize("pool", ["default", "gpu"])
def test_a_runner_serves_its_own_pool(world, pool):
    world.submit("succeed", pool="gpu")

    assert world.runner(pool=pool).work() == (1 if pool == "gpu" else 0)


def test_heartbeats_too_rare_for_the_lease_are_refused(world):
    with pytest.raises(ValueError, match="PGD_HEARTBEAT_S"):
        world.runner(heartbeat_s=10, lease_s=20)
