"""`pgd login`, `me`, `keys` and `audit`, against a live server."""

from __future__ import annotations

import json
import stat

import httpx
import pytest
from typer.testing import CliRunner

from api.cli import app
from api.client.credentials import find_key


@pytest.fixture(autouse=True)
def wide(monkeypatch, tmp_path):
    """Tables are as wide as they need to be, and kept keys the test's own."""
    monkeypatch.setattr("api.key_commands.out._width", 240)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))


def test_a_key_is_made_listed_and_revoked(world, pgd):
    world.team("vision")

    secret = pgd("keys", "add", "mira", "--role", "submitter", "--team", "vision").strip()

    assert world.caller(secret).get("/v1/me").json()["key"]["team"] == "vision"
    row = next(line for line in pgd("keys", "ls").splitlines() if "mira" in line)
    for word in ("vision", "submitter", secret[:12], "good"):
        assert word in row
    assert secret not in row
    assert pgd("keys", "revoke", row.split()[0]).strip() == "mira is revoked"
    assert "revoked" in pgd("keys", "ls", "--team", "vision")
    assert json.loads(pgd("keys", "ls", "--json"))["items"][0]["revoked_at"]
    listed = pgd("audit").splitlines()
    assert [line.split()[3:6] for line in listed[1:3]] == [
        ["vision", "revoke_key", f"keys/{row.split()[0]}"],
        ["vision", "add_key", f"keys/{row.split()[0]}"],
    ]


def test_a_key_that_expires_says_when(pgd):
    made = json.loads(pgd("keys", "add", "guest", "--role", "viewer", "--days", 30, "--json"))

    row = next(line for line in pgd("keys", "ls").splitlines() if "guest" in line)
    assert f"until {made['expires_at'][:4]}" in row
    assert "never" in row


def test_me_is_told(pgd):
    assert pgd("me").strip() == "tests, admin of all teams"
    assert json.loads(pgd("me", "--json"))["operator"] is True


def test_a_login_keeps_the_key_that_works_and_no_other(world, pgd, url, monkeypatch, tmp_path):
    secret = world.secret_of("submitter", "vision")

    said = pgd("login", url, stdin=f"{secret}\n")

    file = tmp_path / "config/pgd/credentials.json"
    assert said.strip() == f"submitter of vision, submitter of team vision; the key is in {file}"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    monkeypatch.delenv("PGD_API_KEY")
    assert find_key(httpx.URL(url)) == secret
    assert "team vision" in pgd("me")
    assert "no such API key" in pgd("login", url, stdin="pgd_wrong\n", code=1)
    assert find_key(httpx.URL(url)) == secret


def test_who_has_no_key_is_told_how_to_come_by_one(pgd, monkeypatch):
    monkeypatch.delenv("PGD_API_KEY")

    said = pgd("ls", code=1)

    assert "this needs an API key" in said
    assert "pgd login URL" in said


def test_who_may_not_is_told_why(world, pgd, monkeypatch):
    monkeypatch.setenv("PGD_API_KEY", world.secret_of("viewer"))

    said = pgd("keys", "add", "x", "--role", "viewer", code=1)

    assert "needs a key of role admin; 'viewer of default' is of role viewer" in said


def test_the_first_operators_key_is_made_by_a_command_once(monkeypatch, tmp_path):
    monkeypatch.setenv("PGD_DATA_FOLDER", str(tmp_path / "data"))

    def init(*options):
        return CliRunner().invoke(app, ["keys", "init", *options])

    first = init()
    assert first.exit_code == 0, first.output
    secret = first.stdout.strip()
    assert secret.startswith("pgd_")
    again = init()
    assert again.exit_code == 1
    assert "pgd keys init --another" in again.output
    another = init("--another").stdout.strip()
    assert another.startswith("pgd_")
    assert another != secret


def test_a_database_that_does_not_answer_is_told_without_its_password(monkeypatch):
    monkeypatch.setenv("PGD_DATABASE_URL", "postgresql://pgd:secret@127.0.0.1:1/pgd")

    result = CliRunner().invoke(app, ["keys", "init"])

    assert result.exit_code == 1
    assert "secret" not in result.output
    assert "Traceback" not in result.output


def test_no_key_is_kept_where_none_is_given(url, monkeypatch):
    result = CliRunner().invoke(app, ["--url", url, "login"], input="\n")

    assert result.exit_code == 2
    assert "no API key was given" in result.output
    monkeypatch.delenv("PGD_API_KEY")
    assert find_key(httpx.URL(url)) is None


def test_a_key_with_a_line_s_end_is_good_and_a_broken_one_is_never_printed(world, pgd, monkeypatch):
    monkeypatch.setenv("PGD_API_KEY", f"{world.secret}\r\n")
    assert "admin of all teams" in pgd("me")

    monkeypatch.setenv("PGD_API_KEY", f"{world.secret}\rx")
    said = pgd("me", code=1)
    assert "characters that no key has" in said
    assert world.secret not in said
