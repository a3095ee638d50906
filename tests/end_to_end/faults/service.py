"""The whole service as real processes that can be killed, over real servers that can be stopped."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

import psutil
import redis

from pgd_core.files import LocalFileStore
from pgd_core.jobs.job import FINAL_STATES, Claim, Job
from pgd_core.jobs.machine import Needs, Placement, Priority, WorkerState
from pgd_core.jobs.spec import BackboneSpec, DetectorSpec, TrainJob
from pgd_core.jobs.teams import DEFAULT_TEAM
from pgd_core.store import (
    SqlHousekeeping,
    SqlJobStore,
    SqlLibraryStore,
    SqlTeamStore,
    SqlWorkerStore,
    open_engine,
)
from tests.end_to_end.faults.gates import FOLDER, Gates
from tests.end_to_end.faults.trainer import Plan
from tests.servers import RedisServer, operator_headers, start_redis
from tests.worker.conftest import make_old
from worker.processes import members
from worker.sweep import Retention, sweep

T = TypeVar("T")
ROOT = Path(__file__).resolve().parents[3]
PATIENCE_S = 60.0
LEASE_S = 10.0  # long, or a busy machine loses one; tests let it run out themselves
SETTINGS = {
    "PGD_LEASE_S": str(LEASE_S),
    "PGD_HEARTBEAT_S": "0.2",
    "PGD_RECONCILE_S": "0.5",
    "PGD_STOP_GRACE_S": "2",
    "PGD_DEVICE": "cpu",
    "PGD_MIN_FREE_BYTES": "0",
    "OMP_NUM_THREADS": "1",
}
WORKER = ("-m", "tests.end_to_end.faults.worker_main")
REAL_WORKER = ("-m", "worker.main")
RECONCILER = ("-m", "worker.reconciler")
API = ("-m", "api.serve")
MODEL = DetectorSpec(detector="fcos", backbone=BackboneSpec(name="resnet18"))


def wait_for(look: Callable[[], T], patience_s: float = PATIENCE_S) -> T:
    """What `look` gives, as soon as it is true."""
    deadline = time.monotonic() + patience_s
    while not (seen := look()):
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.02)
    return seen


@dataclass
class Process:
    """One of the service's processes."""

    popen: subprocess.Popen[bytes]
    log: Path
    frozen: bool = False

    @property
    def pid(self) -> int:
        """Of the program itself, also where it was started through another that waits for it."""
        below = psutil.Process(self.popen.pid).children() if self.wrapped else []
        return below[0].pid if below else self.popen.pid

    wrapped: bool = False

    def alive(self) -> bool:
        return self.popen.poll() is None

    def said(self, text: str) -> bool:
        return text in self.log.read_text(errors="replace")

    def kill(self) -> None:
        self._signal(signal.SIGKILL)
        self.popen.wait(PATIENCE_S)

    def freeze(self) -> None:
        self._signal(signal.SIGSTOP)
        self.frozen = True

    def thaw(self) -> None:
        self._signal(signal.SIGCONT)
        self.frozen = False

    def stop(self) -> int:
        self._signal(signal.SIGTERM)
        return self.popen.wait(PATIENCE_S)

    def _signal(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError, psutil.NoSuchProcess):
            os.kill(self.pid, number)


@dataclass
class Service:
    """What a test starts, breaks and looks at."""

    folder: Path
    database_url: str
    redis: RedisServer
    settings: Mapping[str, str] = field(default_factory=lambda: SETTINGS)
    processes: dict[str, list[Process]] = field(default_factory=dict)
    started: int = 0

    def __post_init__(self) -> None:
        self.data = self.folder / "data"
        self.engine = open_engine(self.database_url)
        self.jobs, self.library = SqlJobStore(self.engine), SqlLibraryStore(self.engine)
        self.workers, self.teams = SqlWorkerStore(self.engine), SqlTeamStore(self.engine)
        self.files = LocalFileStore(self.data / "files")
        self.headers = operator_headers(self.database_url)
        self.gates = Gates(self.folder / "faults")
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.dataset = self.add_dataset()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.listener.getsockname()[1]}"

    # Processes

    def start(
        self, kind: str, command: Sequence[str], before: Sequence[str] = (), **settings: str
    ) -> Process:
        """Start one more; `before` are a command's words that it is started through."""
        self.started += 1
        log = self.folder / f"{kind}-{self.started}.log"
        environment = os.environ | dict(self.settings) | self._places() | settings
        files = (self.listener.fileno(),) if kind == "api" else ()
        with log.open("wb") as output:
            popen = subprocess.Popen(
                [*before, sys.executable, *command, *map(str, files)],
                env=environment,
                stdout=output,
                stderr=output,
                stdin=subprocess.DEVNULL,
                cwd=self.folder,
                pass_fds=files,
                start_new_session=True,
            )
        process = Process(popen, log, wrapped=bool(before))
        self.processes.setdefault(kind, []).append(process)
        return process

    def worker(self, command: Sequence[str] = WORKER, **options: Any) -> Process:
        """A worker that claims."""
        process = self.start("worker", command, **options)
        wait_for(lambda: self._serves(process))
        return process

    def reconciler(self) -> Process:
        return self.start("reconciler", RECONCILER)

    def api(self) -> Process:
        process = self.start("api", API)
        wait_for(lambda: process.said("Uvicorn running") or process.said("startup complete"))
        return process

    def all(self) -> list[Process]:
        return [process for kind in self.processes.values() for process in kind]

    def of(self, kind: str) -> list[Process]:
        return [process for process in self.processes.get(kind, []) if process.alive()]

    def clear(self) -> None:
        """Stop every process of ours and all that they started."""
        self.gates.open_all()
        for process in self.all():
            process.thaw()
            process.kill()
        self.processes.clear()

    def close(self) -> None:
        self.clear()
        self.listener.close()
        self.engine.dispose()

    # Jobs

    def submit(self, plan: Plan = Plan(), **options: Any) -> Job:  # noqa: B008  frozen
        priority = options.pop("priority", Priority.NORMAL)
        placement = Placement(
            team=options.pop("team", "default"),
            priority=priority,
            needs=Needs(options.pop("gpus", 1)),
        )
        return self.jobs.submit(self.spec(plan), placement, by="alice", **options)

    def spec(self, plan: Plan) -> TrainJob:
        return TrainJob(kind="train", name=str(plan), dataset=self.dataset, model=MODEL)

    def get(self, job: Job) -> Job:
        return self.jobs.get(job.id)

    def until(self, job: Job, true: Callable[[Job], Any], patience_s: float = PATIENCE_S) -> Job:
        wait_for(lambda: true(self.get(job)), patience_s)
        return self.get(job)

    def until_ended(self, job: Job, patience_s: float = PATIENCE_S) -> Job:
        return self.until(job, lambda seen: seen.state in FINAL_STATES, patience_s)

    def until_step(self, job: Job, step: int, attempt: int = 1) -> None:
        """Until the trainer has told of that step, by its own file: no server is needed."""
        path = self.attempt(job, attempt) / "progress.jsonl"
        wait_for(lambda: any(line["iteration"] >= step for line in lines_of(path)))

    def until_asked_to_stop(self, job: Job, attempt: int = 1) -> None:
        """Until the worker has asked the trainer."""
        wait_for((self.attempt(job, attempt) / "stop").exists)

    def attempt(self, job: Job, number: int = 1) -> Path:
        return self.data / "attempts" / job.id / str(number)

    def trainer(self, job: Job, attempt: int = 1) -> psutil.Process:
        """The process itself, not its children."""
        found = wait_for(lambda: members(f"{job.id}/{attempt}"))
        ours = {process.pid for process in found}
        return next(process for process in found if process.ppid() not in ours)

    def let_lease_run_out(self, job: Job) -> None:
        """As if its worker had been silent for that long."""
        job = self.get(job)
        if job.lease_token is not None:
            claim = Claim(job.id, job.attempt, job.lease_token)
            self.jobs.heartbeat(claim, timedelta(0))

    def ledger(self, job: Job) -> list[dict[str, Any]]:
        """What the job's trainers noted."""
        return lines_of(self.gates.folder / f"{job.id}.ledger")

    def note(self, job: Job, what: str, step: int) -> None:
        """A line of ours in the ledger of the job's trainers."""
        line = {"attempt": job.attempt, "what": what, "step": step}
        with (self.gates.folder / f"{job.id}.ledger").open("a") as file:
            file.write(json.dumps(line) + "\n")

    def sweep_later(self) -> None:
        """What the reconciler's hourly sweep does, when an hour has passed."""
        make_old(self.data, timedelta(hours=2))
        kept = Retention(*3 * [timedelta(days=7)])
        sweep(self.data, self.jobs, self.files, SqlHousekeeping(self.engine), kept)

    # Servers

    def flush_redis(self) -> None:
        with redis.Redis(unix_socket_path=str(self.redis.socket)) as client:
            client.flushall()

    def stop_redis(self) -> None:
        self.redis.stop()

    def start_redis(self) -> None:
        """Empty: it keeps nothing on the disk."""
        self.redis = start_redis(self.redis.socket)

    def _serves(self, process: Process) -> bool:
        assert process.alive(), process.log.read_text()
        found = self.workers.workers()
        announced = any(process.said(worker.name) for worker in found if _claims(worker.state))
        return announced and process.said(" ready.")

    def _places(self) -> dict[str, str]:
        return {
            "PGD_DATA_FOLDER": str(self.data),
            "PGD_DATABASE_URL": self.database_url,
            "PGD_REDIS_URL": self.redis.url,
            "PYTHONPATH": str(ROOT),
            FOLDER: str(self.gates.folder),
        }

    def add_dataset(self, team: str = DEFAULT_TEAM, root: str = "") -> str:
        """The id of a team's checked data set."""
        parts = (f"{root}/{part}" for part in ("t.json", "t", "v.json", "v"))
        dataset = self.library.add_dataset("digits", *parts, team=team)
        self.library.dataset_checked(
            dataset.id, usable=True, report={}, sha256="ab" * 32, classes=("0", "1")
        )
        return dataset.id


def _claims(state: WorkerState) -> bool:
    return state is WorkerState.ACTIVE


def lines_of(path: Path) -> list[dict[str, Any]]:
    """The whole lines of a file that may be growing, or not be there yet."""
    try:
        text = path.read_text()
    except FileNotFoundError:
        return []
    return [json.loads(line) for line in text[: text.rfind("\n") + 1].splitlines()]


def spoil(
    service: Service,
    job: Job,
    how: Callable[[bytes], bytes | None],  # None: the file goes away
) -> bool:
    """Change the newest checkpoint of the job's attempt; False where there is none."""
    work = service.attempt(job, job.attempt) / "work"
    note = max(work.glob("step_*.json"), default=None)
    if note is None:
        return False
    service.note(job, "damaged", int(note.stem.removeprefix("step_")))
    path = note.with_suffix(".pth")
    try:
        content = how(path.read_bytes())
        path.unlink()
    except FileNotFoundError:  # a newer one took its place just now
        return False
    if content is not None:
        path.write_bytes(content)
    return True


@contextlib.contextmanager
def own_redis() -> Iterator[RedisServer]:
    """A server that tests may stop and start; the one that runs at the end is stopped."""
    folder = Path(tempfile.mkdtemp(prefix="pgd-redis-"))
    try:
        yield start_redis(folder / "redis.sock")
    finally:
        shutil.rmtree(folder)
