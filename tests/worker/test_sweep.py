from __future__ import annotations

from datetime import timedelta

from pgd_core.jobs.job import Artifact, JobState, Reason
from pgd_core.jobs.machine import Offer
from tests.worker.conftest import RUN_OUT
from worker.sweep import sweep, tidy

MINUTE = timedelta(minutes=1)


def published_without_finishing(world, lease=RUN_OUT):
    """As a worker leaves it that is killed between publishing and finishing."""
    job = world.submit("succeed")
    _, claim = world.jobs.claim(Offer("worker-1", "default"), lease)
    world.jobs.started(claim)
    folder = world.attempts / job.id / "1"
    for name in ("outputs", "work"):
        (folder / name).mkdir(parents=True)
    (folder / "student.pth").write_bytes(b"weights")
    key = f"jobs/{job.id}/1/student.pth"
    size, sha256 = world.files.put(key, folder / "student.pth")
    artifact = Artifact(job.id, 1, "student.pth", size, sha256, key, "application/octet-stream")
    return claim, folder, artifact


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_files_of_an_attempt_that_lost_its_lease_are_deleted_and_its_checkpoints_kept(world):
    claim, folder, _ = published_without_finishing(world)
    world.jobs.expire_leases()
    assert world.jobs.get(claim.job_id).state is JobState.QUEUED

    sweep(world.attempts, world.jobs, world.files)

    assert world.files.keys(f"jobs/{claim.job_id}/1") == []
    assert names(folder) == ["work"]


def test_files_of_an_attempt_that_still_runs_are_left_alone(world):
    claim, folder, artifact = published_without_finishing(world, MINUTE)

    sweep(world.attempts, world.jobs, world.files)

    assert world.files.keys(f"jobs/{claim.job_id}/1") == [artifact.key]
    assert names(folder) == ["outputs", "work"]


def test_files_that_were_registered_stay_though_the_worker_died_before_it_tidied(world):
    claim, folder, artifact = published_without_finishing(world, MINUTE)
    world.jobs.finish(claim, Reason.COMPLETED, artifacts=[artifact])

    sweep(world.attempts, world.jobs, world.files)

    assert world.files.path(artifact.key).read_bytes() == b"weights"
    assert names(folder) == []


def test_checkpoints_of_a_job_that_was_cancelled_in_the_queue_are_deleted(world):
    claim, folder, _ = published_without_finishing(world)
    world.jobs.expire_leases()
    world.jobs.cancel(claim.job_id)

    sweep(world.attempts, world.jobs, world.files)

    assert names(folder) == []


def test_a_folder_of_no_known_job_is_left_alone(world):
    strange = world.attempts / "strange" / "1" / "work"
    strange.mkdir(parents=True)

    sweep(world.attempts, world.jobs, world.files)

    assert strange.is_dir()


def test_an_attempt_that_began_after_the_job_was_looked_at_is_left_alone(world):
    _, folder, _ = published_without_finishing(world)
    [requeued] = world.jobs.expire_leases()
    world.jobs.claim(Offer("worker-2", "default"), MINUTE)
    running = folder.with_name("2")
    (running / "outputs").mkdir(parents=True)

    tidy(requeued, world.attempts, world.jobs, world.files)

    assert names(running) == ["outputs"]
    assert names(folder) == ["work"]
