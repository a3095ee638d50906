"""The API as a real process over real servers, with one of each thing that its addresses name."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx

from pgd_core.jobs.job import FINAL_STATES, Reason
from pgd_core.jobs.keys import Role
from pgd_core.jobs.run import LOG_FILE, ProgressLine
from pgd_core.settings import Settings
from pgd_core.store import migrate
from tests.api.conftest import World
from tests.servers import redis_server

ROOT = Path(__file__).resolve().parents[2]
TEAM, OTHER_TEAM = "vision", "speech"
ARTIFACT = "detector.safetensors"
ARTIFACT_BYTES = bytes(range(256)) * 4
MAX_UPLOAD_BYTES = 100_000
PATIENCE_S = 60.0
LINE = ProgressLine(type="train", at="2026-01-01T00:00:00Z", done=0.5, losses={"loss": 1.5})


@dataclass(frozen=True)
class Live:
    """A running API."""

    url: str
    folder: Path  # everything of its own: `data`, `datasets`, `home`, `tmp`, `log`
    ids: dict[str, list[str]]  # by the path parameter, or the beginning of the path
    secrets: dict[str, str]  # of keys: operator, admin, submitter, viewer, stranger
    key_ids: list[str]  # of these keys
    ended_ids: list[str]  # of jobs
    process: subprocess.Popen[bytes]

    @property
    def named(self) -> dict[str, str]:
        """The parameter in the paths that begin so."""
        return {"/v1/workers": "name", "/v1/teams": "name", "/v1/jobs": "name", "/problems": "code"}

    @property
    def values(self) -> dict[str, list[str]]:
        """What fields of bodies and parameters may be set to."""
        return {
            "body.dataset": self.ids["dataset_id"],
            "body.teacher": self.ids["teacher_id"],
            "body.source.job": self.ids["job_id"][:1],
            "body.source.upload": self.ids["upload_id"],
            "body.folder": [str(self.folder / "datasets" / "digits")],
            "body.team": [TEAM, OTHER_TEAM],
            "query.team": [TEAM, OTHER_TEAM],
            "query.pool": ["default"],
            "query.model": self.ids["model_id"],
        }

    def client(self, whose: str = "operator") -> httpx.Client:
        """A client with this key."""
        headers = {"Authorization": f"Bearer {self.secrets[whose]}"}
        return httpx.Client(base_url=self.url, headers=headers, timeout=PATIENCE_S)

    def log(self) -> str:
        """What the process said so far."""
        return (self.folder / "log").read_text(errors="replace")


@contextlib.contextmanager
def live_api(database_url: str = "") -> Iterator[Live]:
    """A running API over this empty database, or an SQLite of its own; stopped at the end."""
    folder = Path(tempfile.mkdtemp(prefix="pgd-live-"))
    with redis_server() as redis, socket.create_server(("127.0.0.1", 0)) as listener:
        settings = _settings(folder, database_url, redis.url)
        migrate(settings.resolved_database_url())
        world = World(settings, settings.dataset_roots[0])
        with world.http:  # its end closes the database
            ids, (secrets, key_ids) = things_in(world), keys_in(world)
            ended = [
                job for job in ids["job_id"] if world.services.jobs.get(job).state in FINAL_STATES
            ]
        process = _start(settings, folder, listener)
        try:
            url = "http://{}:{}".format(*listener.getsockname())
            live = Live(url, folder, ids, secrets, key_ids, ended, process)
            _wait_until_it_answers(live)
            yield live
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(PATIENCE_S)
            shutil.rmtree(folder, ignore_errors=True)


def things_in(world: World) -> dict[str, list[str]]:
    """Jobs of every state and one of each other thing, all of team `TEAM`."""
    for team in (TEAM, OTHER_TEAM):
        world.team(team)
    spec = world.train_spec(TEAM, name="digits")
    jobs = [_job(world, state) for state in ("running", "failed", "cancelled", "paused")]
    done = world.succeeded({ARTIFACT: ARTIFACT_BYTES}, spec, team=TEAM)
    again = world.succeeded({ARTIFACT: ARTIFACT_BYTES}, spec, team=TEAM)
    log = world.services.attempt_folder(done, 1) / LOG_FILE
    log.parent.mkdir(parents=True)
    log.write_text("epoch 1\nepoch 2\n")
    world.folder()
    for name in ("gpu-1", "gpu-2"):
        world.worker(name)
    upload = world.http.post("/v1/uploads", content=b"x", params={"team": TEAM}).json()["id"]
    tus = {"Tus-Resumable": "1.0.0", "Upload-Length": "10"}
    began = world.http.post("/v1/uploads/tus", headers=tus, params={"team": TEAM})
    hook = {"url": "https://hooks.example/pgd", "team": TEAM}
    key, _ = world.services.keys.create("spare", TEAM, Role.VIEWER)
    return {
        "job_id": [done, again, world.submitted(spec, team=TEAM), *jobs],
        "dataset_id": [world.dataset(team=TEAM)],
        "teacher_id": [world.teacher(team=TEAM)],
        "upload_id": [upload],
        "key_id": [key.id],
        "model_id": [model["id"] for model in world.http.get("/v1/models").json()["items"]],
        "unfinished_id": [began.headers["location"].rpartition("/")[2]],
        "webhook_id": [world.http.post("/v1/webhooks", json=hook).json()["id"]],
        "/v1/workers": ["gpu-1", "gpu-2"],
        "/v1/teams": [TEAM, OTHER_TEAM],
        "/v1/jobs": [ARTIFACT],
        "/problems": ["not_found", "too_large"],
    }


def keys_in(world: World) -> tuple[dict[str, str], list[str]]:
    """The secrets of one key of each kind, and all keys' ids; `stranger` is of the other team."""
    keys, secrets = world.services.keys, {"operator": world.secret}
    for name, team, role in (
        ("admin", TEAM, Role.ADMIN),
        ("submitter", TEAM, Role.SUBMITTER),
        ("viewer", TEAM, Role.VIEWER),
        ("stranger", OTHER_TEAM, Role.ADMIN),
    ):
        _, secrets[name] = keys.create(name, team, role)
    in_use = [keys.holder(secret).id for secret in secrets.values()]
    return secrets, in_use


def _job(world: World, state: str) -> str:
    """A job of the team that has come to this state."""
    spec = world.train_spec(TEAM, name=state)
    if state in ("cancelled", "paused"):
        job_id = world.submitted(spec, team=TEAM)
        ask = world.services.jobs.cancel if state == "cancelled" else world.services.jobs.pause
        return ask(job_id).id
    job, claim = world.running(spec, team=TEAM)
    world.beat(claim, LINE)
    if state == "failed":
        world.services.jobs.finish(claim, Reason.OUT_OF_MEMORY, "the device's memory is full")
    return job.id


def _settings(folder: Path, database_url: str, redis_url: str) -> Settings:
    for name in ("data", "datasets", "home", "tmp"):
        (folder / name).mkdir()
    return Settings(
        data_folder=folder / "data",
        database_url=database_url,
        redis_url=redis_url,
        dataset_roots=(folder / "datasets",),
        max_upload_bytes=MAX_UPLOAD_BYTES,
        rate_limit_per_s=0,
        min_free_bytes=0,
    )


def _start(settings: Settings, folder: Path, listener: socket.socket) -> subprocess.Popen[bytes]:
    """The process, which sees nothing of this user's surroundings."""
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(folder / "home"),
        "TMPDIR": str(folder / "tmp"),
        "PYTHONPATH": str(ROOT),
        "PYTHONDONTWRITEBYTECODE": "1",
        "PGD_DATA_FOLDER": str(settings.data_folder),
        "PGD_DATABASE_URL": settings.database_url,
        "PGD_REDIS_URL": settings.redis_url,
        "PGD_DATASET_ROOTS": f'["{settings.dataset_roots[0]}"]',
        "PGD_MAX_UPLOAD_BYTES": str(settings.max_upload_bytes),
        "PGD_RATE_LIMIT_PER_S": "0",
        "PGD_MIN_FREE_BYTES": "0",
    }
    with (folder / "log").open("wb") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "api.serve", str(listener.fileno())],
            env=environment,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            pass_fds=(listener.fileno(),),
        )


def _wait_until_it_answers(live: Live) -> None:
    deadline = time.monotonic() + PATIENCE_S
    with live.client() as client:
        while True:
            with contextlib.suppress(httpx.TransportError):
                answer = client.get("/readyz")
                assert answer.status_code == 200, answer.text
                return
            assert live.process.poll() is None, live.log()
            assert time.monotonic() < deadline, live.log()
