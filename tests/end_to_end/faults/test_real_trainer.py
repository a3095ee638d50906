"""The real trainer, killed: its job goes on from its checkpoint and comes to the same end."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import psutil
import pytest

from pgd_core.datasets.digits import DIGIT_NAMES, write_digit_scenes
from pgd_core.jobs.job import FINAL_STATES, Job
from pgd_core.jobs.schedule import InputSpec, TrainingSpec
from pgd_core.jobs.spec import DetectorSpec, TrainJob
from tests.end_to_end.faults.service import REAL_WORKER, Service, lines_of, own_redis, wait_for
from tests.end_to_end.faults.verdict import story
from tests.servers import sqlite_url

MODEL = {
    "detector": "fcos",
    "backbone": {"name": "resnet18"},
    "head_width": 16,
    "head_convs": 1,
    "norm_groups": 4,
}
STEPS_A_PASS = 12  # far more than a loader reads ahead
PATIENCE_S = 240.0  # the imports alone take seconds


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """With a worker of the real trainer."""
    folder = tmp_path_factory.mktemp("real")
    with own_redis() as redis:
        service = Service(folder, sqlite_url(folder), redis)
        try:
            service.worker(REAL_WORKER)
            yield service
        finally:
            service.close()
            service.redis.stop()


@pytest.fixture(scope="module")
def spec(service: Service) -> TrainJob:
    data = service.folder / "scenes"
    images = 4 * STEPS_A_PASS
    write_digit_scenes(data, images=images, val_images=2, size=64, seed=1)
    paths = (data / name for name in ("train.json", "train", "val.json", "val"))
    dataset = service.library.add_dataset("digits", *map(str, paths))
    service.library.dataset_checked(
        dataset.id,
        usable=True,
        report={},
        sha256="ab" * 32,
        classes=DIGIT_NAMES,
    )
    return TrainJob(
        kind="train",
        dataset=dataset.id,
        model=DetectorSpec.model_validate(MODEL),
        input=InputSpec(long_side=64, short_side=64),
        training=TrainingSpec(epochs=6, batch_size=4, warmup_iterations=1, workers=1),
    )


@pytest.fixture(scope="module")
def undisturbed(service: Service, spec: TrainJob) -> dict[Any, Any]:
    job = service.until_ended(service.jobs.submit(spec, by="alice"), PATIENCE_S)
    assert (job.state, job.attempt) == ("succeeded", 1), job.message
    return curve(service, job)


def curve(service: Service, job: Job) -> dict[Any, Any]:
    """Losses and metrics by step, and the weights at the end; of a step done twice, the last."""
    lines = [line for _, line in service.jobs.progress_lines(job.id)]
    found: dict[Any, Any] = {
        (line.type, line.iteration): line.losses or {"AP": line.metrics.get("AP")}
        for line in lines
        if line.type != "stage"
    }
    weights = service.jobs.artifact(job.id, "detector.safetensors")
    return found | {"weights": weights.sha256}


def loaders(trainer: psutil.Process) -> list[psutil.Process]:
    """Forks of the trainer, not what it started otherwise."""
    same = trainer.cmdline()
    return [child for child in trainer.children() if child.cmdline() == same]


def kill_loaders_until_missed(trainer: psutil.Process) -> None:
    """The trainer ends of it; one that has read the last of its pass is not missed."""

    def missed() -> bool:
        try:
            for loader in loaders(trainer):
                loader.kill()
        except psutil.NoSuchProcess:  # a loader that ended by itself, or the trainer
            pass
        return not trainer.is_running()

    wait_for(missed, PATIENCE_S)


def test_a_real_training_that_loses_processes_mid_epoch_comes_to_the_same_end(
    service: Service, spec: TrainJob, undisturbed: dict[Any, Any]
) -> None:
    job = service.jobs.submit(spec, by="alice")
    wait_until_step(service, job, STEPS_A_PASS + 2, attempt=1)
    kill_loaders_until_missed(service.trainer(job))
    wait_until_step(service, job, 2 * STEPS_A_PASS + 1, attempt=2)
    service.trainer(job, attempt=2).kill()

    job = service.until_ended(job, PATIENCE_S)
    assert (job.state, job.attempt, job.failures) == ("succeeded", 3, 2), job.message
    again = ["requeued", "claimed", "started"]
    assert story(service, job) == ["submitted", *again[1:], *again, *again, "succeeded"]
    requeued = [e for e in service.jobs.events(job.id) if e.kind == "requeued"]
    assert {event.data["reason"] for event in requeued} == {"worker_lost"}
    first, second, third = _begun_from(service, job)
    assert (first, second >= STEPS_A_PASS, third >= 2 * STEPS_A_PASS) == (0, True, True)
    assert curve(service, job) == undisturbed
    wait_for(lambda: not list((service.data / "attempts" / job.id).glob("*/work")))


def wait_until_step(service: Service, job: Job, step: int, attempt: int) -> None:
    """Until the trainer has told of a step of training, and not yet of much more."""
    path = service.attempt(job, attempt) / "progress.jsonl"

    def told() -> bool:
        now = service.jobs.get(job.id)
        assert now.state not in FINAL_STATES, (now.state, now.attempt, now.reason, now.message)
        return any(line["type"] == "train" and line["iteration"] >= step for line in lines_of(path))

    wait_for(told, PATIENCE_S)


def _begun_from(service: Service, job: Job) -> list[int]:
    stages = service.jobs.progress_lines(job.id, type="stage")
    begun = [line.message for _, line in stages if line.message.startswith("training, from step")]
    return [int(message.split()[3]) for message in begun]
