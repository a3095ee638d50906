from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import TypeVar

import psutil
import pytest

from pgd_core.files import LocalFileStore
from pgd_core.jobs.job import Job
from pgd_core.jobs.machine import ONE_CPU_SLOT, Needs, Placement
from pgd_core.jobs.spec import BackboneSpec, DetectorSpec, DistillJob, TrainJob
from pgd_core.store import SqlJobStore, SqlLibraryStore, SqlWorkerStore, open_engine
from tests.servers import RedisServer, redis_server, sqlite_url
from worker.processes import MARKER, _find, members
from worker.runner import Runner, RunnerOptions
from worker.slots import Slots
from worker.supervisor import Limits

T = TypeVar("T")
FAKE_TRAINER = (str(Path(__file__).with_name("fake_trainer.py")),)
RUN_OUT = timedelta(seconds=-1)


def wait_for(look: Callable[[], T], patience_s: float = 60.0) -> T:
    """What `look` gives, as soon as it is true."""
    deadline = time.monotonic() + patience_s
    while not (seen := look()):
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.01)
    return seen


def living(job: Job, attempt: int = 1) -> list[psutil.Process]:
    """The living processes of an attempt."""
    return members(f"{job.id}/{attempt}")


def checks_of(thing_id: str) -> list[psutil.Process]:
    """The living processes that check a data set or a teacher."""
    return _find(lambda each: each.environ().get(MARKER, "").startswith(f"check/{thing_id}/"))


class World:
    """A migrated database, files and a data set, and what a test does with them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.engine = open_engine(sqlite_url(folder))
        self.jobs = SqlJobStore(self.engine)
        self.library = SqlLibraryStore(self.engine)
        self.files = LocalFileStore(folder / "files")
        self.attempts = folder / "attempts"
        self.workers = SqlWorkerStore(self.engine)
        self.devices = (ONE_CPU_SLOT,)
        self.dataset = self.add_dataset()
        self.options = RunnerOptions(
            worker="worker-1",
            attempts=self.attempts,
            heartbeat_s=0.05,
            limits=Limits(stop_grace_s=10, poll_s=0.02),
            trainer=FAKE_TRAINER,
        )

    def add_dataset(self, usable: bool = True, root: str = "") -> str:
        parts = (f"{root}/{part}" for part in ("t.json", "t", "v.json", "v"))
        dataset = self.library.add_dataset("digits", *parts)
        self.library.dataset_checked(
            dataset.id, usable=usable, report={}, sha256="ab" * 32, classes=("0", "1")
        )
        return dataset.id

    def submit(self, does: str, pool: str = "default", gpus: int = 1, **options) -> Job:
        model = DetectorSpec(detector="fcos", backbone=BackboneSpec(name="resnet18"))
        spec = TrainJob(kind="train", name=does, dataset=self.dataset, model=model)
        return self.jobs.submit(spec, Placement(pool, needs=Needs(gpus)), **options)

    def runner(self, **options) -> Runner:
        return Runner(
            self.jobs,
            self.library,
            self.files,
            Slots(self.devices),
            replace(self.options, **options),
        )

    def run(self, does: str, **options) -> Job:
        """Submit and run a job; what became of it."""
        job = self.submit(does)
        self.runner(**options).work()
        return self.jobs.get(job.id)

    def start(self, runner: Runner) -> threading.Thread:
        thread = threading.Thread(target=runner.work)
        thread.start()
        return thread

    def wait_until_training(self, job: Job) -> None:
        wait_for(lambda: self.jobs.get(job.id).progress)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    world = World(tmp_path)
    yield world
    world.engine.dispose()


@pytest.fixture
def redis() -> Iterator[RedisServer]:
    with redis_server() as server:
        yield server


def distillation(world: World, weights: bytes = b"heavy") -> Job:
    """A job whose teacher lies in the file store."""
    source, key = world.folder / "weights", "teachers/1/teacher.safetensors"
    source.write_bytes(weights)
    _, sha256 = world.files.put(key, source)
    model = DetectorSpec(detector="fcos", backbone=BackboneSpec(name="resnet50"))
    teacher = world.library.add_teacher("big", model, ("0", "1"), key=key, sha256=sha256)
    return distillation_by(world, teacher.id)


def distillation_by(world: World, teacher: str) -> Job:
    """A job with the teacher of this id, whether there is one or not."""
    student = BackboneSpec(name="resnet18")
    spec = DistillJob(
        kind="distill", name="succeed", dataset=world.dataset, teacher=teacher, student=student
    )
    return world.jobs.submit(spec)


def make_old(path: Path, age: timedelta) -> None:
    """As if nothing in the file or folder had changed for so long."""
    at = time.time() - age.total_seconds()
    for each in (*path.rglob("*"), path):
        os.utime(each, (at, at))
