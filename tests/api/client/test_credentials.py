"""Which key a client sends where it was not given one."""

from __future__ import annotations

import json
import stat
from contextlib import ExitStack

import httpx
import pytest

from api.client import ApiError, Client
from api.client.credentials import find_key, keep_key, offered, write_private

FAR = httpx.URL("https://pgd.example.org")
HERE = httpx.URL("http://127.0.0.1:8099")


@pytest.fixture(autouse=True)
def config(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    return tmp_path / "config" / "pgd"


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


def test_there_is_none_where_nobody_kept_one():
    assert find_key(FAR) is None
    assert find_key(HERE) is None


def test_a_kept_key_is_found_by_its_services_address_and_read_by_its_owner_alone(config):
    path = keep_key(FAR, "pgd_far")
    keep_key(HERE, "pgd_here")

    assert (find_key(FAR), find_key(HERE)) == ("pgd_far", "pgd_here")
    assert find_key(httpx.URL("https://pgd.example.org/v1/jobs")) == "pgd_far"
    for other in ("http://pgd.example.org", "https://pgd.example.org:444", "https://example.org"):
        assert find_key(httpx.URL(other)) is None
    assert path == config / "credentials.json"
    assert (mode(path), mode(config)) == (0o600, 0o700)


def test_the_environments_key_goes_first(monkeypatch):
    keep_key(FAR, "pgd_far")
    monkeypatch.setenv("PGD_API_KEY", "pgd_now")

    assert find_key(FAR) == "pgd_now"


def test_credentials_that_are_no_json_are_told(config):
    config.mkdir(parents=True)
    (config / "credentials.json").write_text("{")

    with pytest.raises(OSError, match="mend it, or delete it"):
        find_key(FAR)


def test_the_key_of_a_service_of_this_machine_is_found_by_its_port_while_it_runs(tmp_path):
    key = tmp_path / "local.key"
    write_private(key, "pgd_local\n")

    with offered(8099, key):
        assert find_key(HERE) == find_key(httpx.URL("http://localhost:8099")) == "pgd_local"
        assert find_key(httpx.URL("http://127.0.0.1:8098")) is None
        assert find_key(httpx.URL("http://example.org:8099")) is None
    assert find_key(HERE) is None


def test_who_stops_late_does_not_take_the_next_ones_key_away(tmp_path):
    for name in ("old", "new"):
        write_private(tmp_path / name, f"pgd_{name}")

    late, next_one = ExitStack(), ExitStack()
    late.enter_context(offered(8099, tmp_path / "old"))
    next_one.enter_context(offered(8099, tmp_path / "new"))

    late.close()
    assert find_key(HERE) == "pgd_new"
    next_one.close()
    assert find_key(HERE) is None


def test_a_link_that_a_killed_service_left_is_replaced_or_leads_nowhere(tmp_path, config):
    key = tmp_path / "local.key"
    (config / "local").mkdir(parents=True)
    (config / "local" / "8099").symlink_to(tmp_path / "deleted")
    assert find_key(HERE) is None

    write_private(key, "pgd_again")
    with offered(8099, key):
        assert find_key(HERE) == "pgd_again"


def test_a_client_sends_its_key_and_waits_when_it_asks_too_often(monkeypatch):
    answers = [httpx.Response(429, headers={"retry-after": "7"}), httpx.Response(200, json=_ME)]
    waited, seen = [], []

    def serve(request):
        seen.append(request.headers.get("authorization"))
        return answers.pop(0)

    monkeypatch.setattr("api.client.wire.time.sleep", waited.append)
    client = _client(serve)

    assert client.me().key.name == "mira"
    assert seen == ["Bearer pgd_mine"] * 2
    assert waited == [7]


def test_a_client_does_not_ask_for_ever(monkeypatch):
    waited = []
    monkeypatch.setattr("api.client.wire.time.sleep", waited.append)
    problem = {"code": "rate_limited", "detail": "too often", "errors": []}
    client = _client(lambda _: httpx.Response(429, json=problem))

    with pytest.raises(ApiError, match="too often"):
        client.me()
    assert waited == [1, 1, 1, 1]


_ME = json.loads(
    """{"operator": false, "key": {"id": "1", "name": "mira", "team": "a", "role": "viewer",
    "prefix": "pgd_", "created_at": "2026-01-01T00:00:00Z", "expires_at": null, "revoked_at": null,
    "last_used_at": null}}"""
)


def _client(serve):
    client = Client("http://service", api_key="pgd_mine")
    headers = client._http.headers
    client.close()
    transport = httpx.MockTransport(serve)
    client._http = httpx.Client(base_url="http://service", headers=headers, transport=transport)
    return client
