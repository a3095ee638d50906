from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from sqlalchemy import update
from structlog.testing import capture_logs

from pgd_core.jobs.job import Artifact, JobState, Reason
from pgd_core.jobs.machine import Offer
from pgd_core.store.engine import writing
from pgd_core.store.housekeeping import SqlHousekeeping
from pgd_core.store.tables import JobRow
from pgd_core.store.times import database_now
from tests.worker.conftest import RUN_OUT, make_old
from worker.sweep import Retention, sweep, tidy

MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
KEPT = Retention(failed=7 * DAY, logs=90 * DAY, uploads=7 * DAY)


@pytest.fixture
def clean(world):
    """Sweeps the world once."""
    rows = SqlHousekeeping(world.engine)

    def once():
        return sweep(world.folder, world.jobs, world.files, rows, KEPT)

    return once


def attempt(world, job, number=1):
    """The folder of an attempt, as a trainer leaves it, long ago."""
    folder = world.attempts / job.id / str(number)
    for name in ("outputs", "work"):
        (folder / name).mkdir(parents=True)
    (folder / "work" / "step_000000001.pth").write_bytes(b"checkpoint")
    (folder / "trainer.log").write_text("log")
    make_old(folder, 2 * HOUR)
    return folder


def claimed(world, lease=MINUTE):
    """A job that trains, and its claim."""
    job = world.submit("succeed")
    _, claim = world.jobs.claim(Offer("worker-1", "default"), lease)
    world.jobs.started(claim)
    return job, claim


def ended(world, reason, age=timedelta(0)):
    """A job that ended some time ago."""
    job, claim = claimed(world)
    world.jobs.finish(claim, reason)
    ended_ago(world, job, age)
    return job


def ended_ago(world, job, age):
    with writing(world.engine) as session:
        row = update(JobRow).where(JobRow.id == job.id)
        session.execute(row.values(finished_at=database_now(-age)))


def published(world, lease=RUN_OUT):
    """As a worker leaves it that is killed between publishing and finishing."""
    job, claim = claimed(world, lease)
    folder = attempt(world, job)
    (world.folder / "student.pth").write_bytes(b"weights")
    key = f"jobs/{job.id}/1/student.pth"
    size, sha256 = world.files.put(key, world.folder / "student.pth")
    artifact = Artifact(job.id, 1, "student.pth", size, sha256, key, "application/octet-stream")
    return claim, folder, artifact


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_files_of_an_attempt_that_lost_its_lease_are_deleted_and_its_checkpoints_kept(world, clean):
    claim, folder, _ = published(world)
    world.jobs.expire_leases()
    assert world.jobs.get(claim.job_id).state is JobState.QUEUED

    clean()

    assert world.files.keys(f"jobs/{claim.job_id}/1") == []
    assert names(folder) == ["trainer.log", "work"]


def test_nothing_of_a_job_that_runs_is_touched_however_old(world, clean):
    claim, first, artifact = published(world)
    world.jobs.expire_leases()
    job, _ = world.jobs.claim(Offer("worker-2", "default"), MINUTE)
    second = attempt(world, job, 2)
    make_old(world.folder / "files", 400 * DAY)
    make_old(world.attempts, 400 * DAY)

    assert clean().deleted == 0

    assert world.files.keys(f"jobs/{claim.job_id}/1") == [artifact.key]
    assert [names(each) for each in (first, second)] == [["outputs", "trainer.log", "work"]] * 2


def test_files_that_were_registered_stay_though_the_worker_died_before_it_tidied(world, clean):
    claim, folder, artifact = published(world, MINUTE)
    world.jobs.finish(claim, Reason.COMPLETED, artifacts=[artifact])

    clean()

    assert world.files.path(artifact.key).read_bytes() == b"weights"
    assert names(folder) == ["trainer.log"]


def test_checkpoints_of_a_job_that_was_cancelled_in_the_queue_are_deleted(world, clean):
    claim, folder, _ = published(world)
    world.jobs.expire_leases()
    world.jobs.cancel(claim.job_id)

    clean()

    assert names(folder) == ["trainer.log"]


def test_an_attempt_that_began_after_the_job_was_looked_at_is_left_alone(world):
    _, folder, _ = published(world)
    [requeued] = world.jobs.expire_leases()
    world.jobs.claim(Offer("worker-2", "default"), MINUTE)
    running = folder.with_name("2")
    (running / "outputs").mkdir(parents=True)

    tidy(requeued, world.attempts, world.jobs, world.files)

    assert names(running) == ["outputs"]
    assert names(folder) == ["trainer.log", "work"]


def test_a_cancelled_job_that_was_tried_again_since_loses_no_checkpoints(world):
    job, claim = claimed(world)
    world.jobs.cancel(job.id)
    cancelled = world.jobs.finish(claim, Reason.CANCELLED_BY_USER)
    world.jobs.retry(job.id)
    world.jobs.claim(Offer("worker-2", "default"), MINUTE)
    folders = [attempt(world, job, number) for number in (1, 2)]

    tidy(cancelled, world.attempts, world.jobs, world.files)

    assert names(folders[0]) == ["trainer.log", "work"]  # the second attempt may be reading it
    assert names(folders[1]) == ["outputs", "trainer.log", "work"]


@pytest.mark.parametrize("reason", [Reason.COMPLETED, Reason.CANCELLED_BY_USER])
def test_of_an_ended_job_only_attempts_that_the_database_knows_are_tidied(world, reason):
    job, claim = claimed(world)
    done = world.jobs.finish(claim, reason)
    folders = [attempt(world, job, number) for number in (1, 2)]

    tidy(done, world.attempts, world.jobs, world.files)

    assert [names(folder) for folder in folders] == [
        ["trainer.log"],
        ["outputs", "trainer.log", "work"],
    ]


@pytest.mark.parametrize("age", [8 * DAY, 91 * DAY])
@pytest.mark.parametrize("again", [0, 1])
def test_a_failed_job_that_is_tried_again_while_the_sweep_goes_on_keeps_everything(
    world, age, again
):
    class Slow(SqlHousekeeping):
        def now(self):  # asked once the jobs were looked at
            world.jobs.retry(job.id)
            for _ in range(again):
                world.jobs.claim(Offer("worker-2", "default"), MINUTE)
            return super().now()

    job = ended(world, Reason.DIVERGED, age)
    folder = attempt(world, job)

    sweep(world.folder, world.jobs, world.files, Slow(world.engine), KEPT)

    assert names(folder) == ["trainer.log", "work"]


def test_a_failed_jobs_checkpoints_of_every_attempt_are_kept_so_that_it_can_be_tried_again(
    world, clean
):
    _, claim = claimed(world)
    world.jobs.finish(claim, Reason.STOPPED)
    job, claim = world.jobs.claim(Offer("worker-1", "default"), MINUTE)
    world.jobs.finish(claim, Reason.DIVERGED)
    ended_ago(world, job, 6 * DAY)
    folders = [attempt(world, job, number) for number in (1, 2)]

    clean()

    assert [names(folder) for folder in folders] == [["trainer.log", "work"]] * 2


def test_a_failed_jobs_checkpoints_go_after_a_week_and_its_log_stays(world, clean):
    job = ended(world, Reason.DIVERGED, 8 * DAY)
    folder = attempt(world, job)

    broom = clean()

    assert names(folder) == ["trainer.log"]
    assert broom.freed_bytes == len(b"checkpoint")


@pytest.mark.parametrize("reason", [Reason.DIVERGED, Reason.COMPLETED, Reason.CANCELLED_BY_USER])
def test_nothing_is_left_of_an_ended_jobs_attempts_after_three_months(world, clean, reason):
    young, old = ended(world, reason, 89 * DAY), ended(world, reason, 91 * DAY)
    for job in (young, old):
        attempt(world, job)

    clean()

    assert names(world.attempts) == [young.id]
    assert names(world.attempts / young.id / "1") == ["trainer.log"]


@pytest.mark.parametrize("pause", [False, True])
def test_a_job_that_waits_keeps_its_checkpoints_for_ever(world, clean, pause):
    job, claim = claimed(world)
    world.jobs.finish(claim, Reason.PAUSED_BY_USER if pause else Reason.STOPPED)
    folder = attempt(world, job)
    make_old(folder, 400 * DAY)

    clean()

    assert names(folder) == ["trainer.log", "work"]


def test_nothing_that_changed_within_the_hour_is_touched(world, clean):
    job = ended(world, Reason.COMPLETED, 400 * DAY)
    folder = attempt(world, job)
    for name in ("outputs", "work"):
        make_old(folder / name, 30 * MINUTE)

    assert clean().deleted == 0
    assert names(folder) == ["outputs", "trainer.log", "work"]


def test_attempts_of_a_job_that_the_database_does_not_know_go_after_a_day(world, clean):
    known = [attempt(world, world.submit("succeed")) for _ in range(2)]
    old, young = (world.attempts / name / "1" for name in ("old", "young"))
    for folder in (old, young):
        folder.mkdir(parents=True)
    make_old(world.attempts, 2 * DAY)
    make_old(young, 2 * HOUR)

    clean()

    assert [folder.exists() for folder in (old, young, *known)] == [False, True, True, True]


def test_a_database_that_knows_none_of_the_jobs_deletes_none_of_their_attempts(world, clean):
    folder = world.attempts / "strange" / "1" / "work"
    folder.mkdir(parents=True)
    make_old(world.attempts, 400 * DAY)

    with capture_logs() as logged:
        clean()

    assert folder.is_dir()
    assert "files_of_another_database" in [line["event"] for line in logged]


def test_scratch_that_was_left_behind_goes_after_a_day(world, clean):
    places = [("checks", "check-"), ("checks", "study-"), ("incoming", "0190-")]
    old, young = ([world.folder / f / f"{n}{age}" for f, n in places] for age in ("old", "young"))
    for path in (*old, *young):
        path.mkdir(parents=True)
        (path / "file").write_bytes(b"123")
    for path in old:
        make_old(path, 2 * DAY)

    broom = clean()

    assert [path.exists() for path in (*old, *young)] == [False] * 3 + [True] * 3
    assert (broom.deleted, broom.freed_bytes) == (3, 9)


def test_a_sweep_says_what_it_freed_and_a_second_one_finds_nothing(world, clean):
    attempt(world, ended(world, Reason.COMPLETED))

    with capture_logs() as logged:
        clean()
        clean()

    summaries = [line for line in logged if line["event"] == "swept"]
    assert [(line["deleted"], line["freed_bytes"]) for line in summaries] == [(2, 10), (0, 0)]


def test_two_reconcilers_may_sweep_at_once(world, clean):
    done = [attempt(world, ended(world, Reason.COMPLETED, 400 * DAY)) for _ in range(20)]
    kept = attempt(world, ended(world, Reason.DIVERGED))

    with ThreadPoolExecutor(2) as both:
        brooms = [each.result() for each in [both.submit(clean) for _ in range(2)]]

    assert not any(folder.exists() for folder in done)
    assert names(kept) == ["trainer.log", "work"]
    assert sum(broom.deleted for broom in brooms) >= len(done)
