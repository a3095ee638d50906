"""The units for machines without Docker."""

from __future__ import annotations

import configparser
import importlib.util
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from api.embedded import WORKER_SPARE_S
from pgd_core.settings import Settings
from tests.deployment.files import ROOT, UNITS, compose

PYTHON = "/opt/pgd/bin/python"
ENVIRONMENT = dict(
    re.findall(r"^(\w+)=(.*)$", (ROOT / "docs/systemd/pgd.env.example").read_text(), re.M)
)

every_unit = pytest.mark.parametrize("path", UNITS, ids=lambda path: path.name)


class Keys(configparser.RawConfigParser):
    """A unit's keys have capital letters, and a value may hold a %."""

    def optionxform(self, optionstr: str) -> str:
        return optionstr


def unit(path: Path) -> configparser.RawConfigParser:
    parser = Keys()
    parser.read(path)
    return parser


def test_there_is_a_unit_for_each_process():
    assert [path.stem for path in UNITS] == ["pgd-api", "pgd-reconciler", "pgd-worker"]


@every_unit
def test_a_unit_starts_what_compose_starts(path: Path):
    command = shlex.split(unit(path)["Service"]["ExecStart"])

    assert command[0] == PYTHON
    service = path.stem.removeprefix("pgd-")
    assert ["python", *command[1:]] == compose()["services"][service]["command"]
    assert importlib.util.find_spec(command[2]) is not None


def test_the_api_migrates_the_database_before_it_serves():
    command = unit(UNITS[0])["Service"]["ExecStartPre"]

    assert shlex.split(command)[1:] == compose()["services"]["migrate"]["command"][1:]


@every_unit
def test_a_unit_starts_again_and_is_confined(path: Path):
    service = unit(path)["Service"]

    assert service["Restart"] == "always"
    assert service["User"] == "pgd"
    assert service["EnvironmentFile"] == "/etc/pgd/pgd.env"
    for key in ("NoNewPrivileges", "ProtectHome", "PrivateTmp"):
        assert service[key] == "yes"
    assert service["ProtectSystem"] == "strict"
    assert ENVIRONMENT["PGD_DATA_FOLDER"] == f"/var/lib/{service['StateDirectory']}"


def test_the_worker_keeps_its_gpus_and_its_trainers_have_their_time():
    service = unit(UNITS[2])["Service"]

    for key in ("PrivateDevices", "ProtectClock", "DevicePolicy", "MemoryDenyWriteExecute"):
        assert key not in service
    assert service["KillMode"] == "mixed"
    grace_s = float(ENVIRONMENT["PGD_STOP_GRACE_S"])
    assert float(service["TimeoutStopSec"]) >= grace_s + WORKER_SPARE_S


def test_the_example_of_the_environment_is_one(monkeypatch):
    for name, value in ENVIRONMENT.items():
        [unquoted] = shlex.split(value) if value.startswith("'") else [value]
        monkeypatch.setenv(name, unquoted)

    assert Settings().dataset_roots == (Path("/srv/datasets"),)


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd here")
def test_systemd_itself_finds_no_fault(tmp_path: Path):
    copies = []
    for path in UNITS:  # it looks whether the command is there
        copies.append(tmp_path / path.name)
        copies[-1].write_text(path.read_text().replace(PYTHON, sys.executable))

    found = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", *map(str, copies)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (found.returncode, found.stderr) == (0, "")
