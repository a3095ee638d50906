"""The key that lies beside the data of `pgd up`."""

from __future__ import annotations

import stat

import httpx
import pytest

from api.client.credentials import find_key
from api.first_key import local_key, own_key
from pgd_core.jobs.keys import Role
from pgd_core.settings import Settings
from pgd_core.store import SqlKeyStore, open_engine
from tests.servers import sqlite_url


@pytest.fixture
def keys(tmp_path):
    engine = open_engine(sqlite_url(tmp_path))
    yield SqlKeyStore(engine)
    engine.dispose()


def test_it_is_made_once_and_is_its_owners_alone(tmp_path, keys):
    path = local_key(tmp_path, keys)
    secret = path.read_text().strip()

    assert keys.holder(secret).operator
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    path.chmod(0o644)
    assert local_key(tmp_path, keys).read_text().strip() == secret
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_one_that_no_longer_works_is_replaced(tmp_path, keys):
    path = local_key(tmp_path, keys)
    first = path.read_text().strip()
    keys.create("another", "*", Role.ADMIN)
    keys.revoke(keys.holder(first).id)

    second = local_key(tmp_path, keys).read_text().strip()
    assert keys.holder(second).operator
    _, viewer = keys.create("viewer", "default", Role.VIEWER)
    path.write_text(viewer)
    third = local_key(tmp_path, keys).read_text().strip()
    assert keys.holder(third).operator


def test_clients_find_it_while_the_service_runs(tmp_path, keys, monkeypatch):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    warned: list[str] = []
    url = httpx.URL("http://127.0.0.1:8099")

    with own_key(Settings(data_folder=tmp_path), 8099, warned.append):
        assert keys.holder(find_key(url) or "").operator
    assert find_key(url) is None
    assert warned == []


def test_where_clients_cannot_find_it_somebody_is_told(tmp_path, keys, monkeypatch):
    (tmp_path / "config").write_text("no folder")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    warned: list[str] = []

    with own_key(Settings(data_folder=tmp_path), 8099, warned.append):
        assert "PGD_API_KEY" in warned[0]
        assert keys.has_operator()
