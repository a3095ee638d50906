"""What the deployment's files call by name is there."""

from __future__ import annotations

import re

import pytest

from pgd_core.settings import Settings
from tests.deployment.files import COMPOSE, OVERRIDES, ROOT, UNITS, compose, env_example

# Settings that other work brings: take a line out once the field is there.
OF_THE_COMMAND = {"PGD_URL", "PGD_API_KEY"}  # where `pgd` finds the service, and its key
FILES = (
    COMPOSE,
    *OVERRIDES,
    *UNITS,
    ROOT / ".env.example",
    ROOT / "docs/systemd/pgd.env.example",
    ROOT / "docs/operations.md",
)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_every_setting_that_is_named_exists(path):
    named = set(re.findall(r"\bPGD_[A-Z0-9_]+\b", path.read_text()))

    assert named <= {f"PGD_{n.upper()}" for n in Settings.model_fields} | OF_THE_COMMAND


def test_the_guide_names_files_that_are_there():
    text = (ROOT / "docs/operations.md").read_text()
    links = re.findall(r"\]\(([^)#:]+)\)", text)
    named = re.findall(r"docker-compose(?:\.\w+)?\.yml|docs/[\w./-]+", text)

    assert links
    for name in links:
        assert (ROOT / "docs" / name).exists(), name
    for name in named:
        assert (ROOT / name).exists(), name


def test_the_guides_log_events_are_logged():
    guide = (ROOT / "docs/operations.md").read_text()
    table = guide.partition("| event | means |")[2].partition("\n\n")[0]
    events = re.findall(r"^\| `(\w+)` \|", table, re.M)
    files = [path for part in ("worker", "pgd_core/store") for path in (ROOT / part).glob("*.py")]
    code = "".join(path.read_text() for path in files)

    assert events
    for event in events:
        assert f'"{event}"' in code, event


def test_the_guides_commands_name_services_and_variables_of_compose():
    guide = (ROOT / "docs/operations.md").read_text()
    services = re.findall(r"docker compose (?:[^`\n]* )?(?:stop|restart) ([\w ]+)", guide)

    assert services
    for names in services:
        assert set(names.split()) <= compose()["services"].keys()
    for name in re.findall(r"`([A-Z][A-Z0-9]*_[A-Z0-9_]+)`", guide):
        assert name in env_example() or name in environment_of_the_api(), name


def environment_of_the_api() -> set[str]:
    return set(compose()["services"]["api"]["environment"])
