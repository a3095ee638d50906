"""A machine's worker: `python -m worker.main`, a Celery worker with a slot for each of its GPUs.

SIGTERM asks the running trainers to write a checkpoint, puts their jobs back into the queue and
ends.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast

import structlog
from celery import Celery, signals

from pgd_core.files import open_files
from pgd_core.files.room import lack_of_room
from pgd_core.files.shares import DataFolder
from pgd_core.jobs.machine import Device as Slot
from pgd_core.jobs.machine import Worker
from pgd_core.jobs.protocols import FileStore, JobStore, LibraryStore, WorkerStore
from pgd_core.settings import Settings
from pgd_core.store import SqlJobStore, SqlLibraryStore, SqlWorkerStore, migrate, open_engine
from worker.app import worker_app
from worker.devices import environment_of, find_devices, strangers, versions
from worker.health import SignOfLife
from worker.logs import configure_logs
from worker.presence import Presence
from worker.processes import end_orphans
from worker.queue import HintNotSent, HintSender, queue_name
from worker.runner import TRAINER, Runner, RunnerOptions
from worker.slots import Slots
from worker.supervisor import Limits
from worker.tasks import register_tasks

Device = Literal["auto", "cpu", "cuda"]

_LOOK_S = 0.05  # how long a hint waits at most for a slot that is just free

log = structlog.get_logger()


@dataclass(frozen=True)
class Stores:
    """What a worker works with outside of its machine."""

    jobs: JobStore
    library: LibraryStore
    files: FileStore
    workers: WorkerStore


def main() -> int:
    """Composition root; returns the exit code."""
    settings = begin()
    with open_stores(settings) as stores:
        return run(settings, stores)


def begin() -> Settings:
    """The settings; logs go out as JSON, and what a dead worker left here has ended."""
    configure_logs("worker")
    swept = end_orphans()
    if swept:
        log.warning("orphans_ended", pids=swept)
    # MMEngine's parser writes a cache when it is first used, and trainers that begin side by side
    # would read each other's half of it.
    subprocess.run([sys.executable, "-c", "import yapf.yapflib.yapf_api"], check=False)
    return Settings()


@contextlib.contextmanager
def open_stores(settings: Settings) -> Iterator[Stores]:
    """The stores that the settings name, the database brought to the newest schema."""
    migrate(settings.resolved_database_url())
    engine = open_engine(settings.resolved_database_url())
    try:
        yield Stores(
            SqlJobStore(engine, settings.scheduling_rules()),
            SqlLibraryStore(engine),
            open_files(settings),
            SqlWorkerStore(engine),
        )
    finally:
        engine.dispose()


def run(settings: Settings, stores: Stores, trainer: Sequence[str] = TRAINER) -> int:
    """Serve a pool until a signal says stop; returns the exit code."""
    devices = find_devices(cast(Device, settings.device), settings.slots)
    worker = this_worker(settings, devices)
    folder = DataFolder(settings.data_folder, stores.workers.shared_folder)
    slots = Slots(devices, lambda free: troubles(settings, folder, free))
    options = runner_options(settings, worker, trainer)
    runner = Runner(stores.jobs, stores.library, stores.files, slots, options)
    presence = Presence(
        stores.workers,
        worker,
        every_s=settings.heartbeat_s,
        troubles=slots.troubles,
        wake=runner.wake,
        heard=SignOfLife(settings.data_folder, "worker").give,
    )
    redis_url = settings.resolved_redis_url()
    app = worker_app(redis_url, settings.pool, len(devices))
    register_tasks(app, runner)
    log.info("worker_starts", name=worker.name, pool=settings.pool, slots=len(devices))
    with presence:
        code = serve(app, runner, HintSender(redis_url), settings.pool)
        runner.join()
        return code


def this_worker(settings: Settings, devices: Sequence[Slot]) -> Worker:
    """The worker that this process is; its name is a part of addresses, and never used again."""
    host = re.sub(r"[^A-Za-z0-9-]", "-", socket.gethostname())[:40]
    name = f"{host}-{secrets.token_hex(3)}"
    return Worker(
        name, socket.gethostname(), os.getpid(), settings.pool, tuple(devices), versions()
    )


def runner_options(
    settings: Settings, worker: Worker, trainer: Sequence[str] = TRAINER
) -> RunnerOptions:
    """What the settings mean for a runner."""
    data = settings.data_folder.resolve()
    return RunnerOptions(
        worker=worker.name,
        attempts=data / "attempts",
        pool=settings.pool,
        weights_folder=settings.weights_folder and settings.weights_folder.resolve(),
        lease_s=settings.lease_s,
        heartbeat_s=settings.heartbeat_s,
        dataset_roots=settings.dataset_roots,
        limits=Limits(
            stop_grace_s=settings.stop_grace_s,
            max_duration_s=settings.max_duration_s,
            stall_s=settings.stall_s,
        ),
        trainer=trainer,
        environment=lambda used: environment_of(used, len(worker.devices)),
    )


def troubles(settings: Settings, folder: DataFolder, free: Sequence[Slot]) -> Mapping[int, str]:
    """By slot, why nothing is to be put on it now: a data folder that is not there, a disk that is
    nearly full, a stranger."""
    data = settings.data_folder.resolve()
    try:
        trouble = folder.trouble() or lack_of_room(
            (data / "attempts", data / "files"), settings.min_free_bytes
        )
    except OSError as error:  # a file server that is away, or a folder that is not ours
        trouble = f"the data folder {data} cannot be used: {error}"
    return {device.slot: trouble for device in free} if trouble else strangers(free, ())


def serve(app: Celery, runner: Runner, hints: HintSender, pool: str) -> int:
    """Answer hints until a signal says stop; returns the exit code."""

    def ready(sender: Any, **_: Any) -> None:
        # A thread that becomes free does not wake Celery's loop, which then takes the next hint up
        # to a second late.
        sender.hub.call_repeatedly(_LOOK_S, lambda: None)
        # Jobs may have waited since before Redis was emptied, or while no worker was there.
        try:
            hints.send(pool)
        except HintNotSent as error:
            log.warning("hint_not_sent", message=error.message)

    def shutting_down(**_: Any) -> None:
        # Celery's warm shutdown waits for the task, and this makes the task end within the
        # trainer's grace: its soft and cold shutdowns, which abandon tasks, are not needed.
        runner.shut_down()

    signals.worker_ready.connect(ready, weak=False)
    signals.worker_shutting_down.connect(shutting_down, weak=False)
    worker = app.Worker(
        hostname=f"{pool}-{os.getpid()}@{socket.gethostname()}",
        queues=[queue_name(pool)],
        without_gossip=True,  # workers know each other through the database
        without_mingle=True,
        loglevel="INFO",
        quiet=True,
    )
    worker.start()
    hints.close()
    return int(worker.exitcode or 0)


if __name__ == "__main__":
    sys.exit(main())
