"""docker-compose.yml and what is laid over it."""

from __future__ import annotations

import importlib.resources
import json
import re
from pathlib import Path

import jsonschema
import pytest

from api.embedded import WORKER_SPARE_S
from pgd_core.settings import Settings
from tests.deployment.files import (
    COMPOSE,
    OVERRIDES,
    ROOT,
    Reset,
    compose,
    docker_stages,
    env_example,
    filled_in,
    interpolated,
    seconds,
    variables_of,
)

SERVICES = compose()["services"]
ONE_SHOTS = {"bucket", "migrate"}
SERVERS = {"postgres", "redis", "s3"}
OURS = {"migrate", "api", "worker", "reconciler", "webhooks"}
FILES = (COMPOSE, *OVERRIDES)

every_file = pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)


@every_file
def test_each_file_is_what_the_compose_specification_allows(path: Path):
    vendored = importlib.resources.files("check_jsonschema") / "builtin_schemas/vendor"
    schema = json.loads((vendored / "compose-spec.json").read_text())

    jsonschema.validate(interpolated(compose(path), filled_in()), schema)


@every_file
def test_every_variable_is_in_the_example_of_the_environment(path: Path):
    assert variables_of(path) <= env_example().keys()


def test_the_example_of_the_environment_names_nothing_that_is_not_used():
    assert env_example().keys() == set().union(*map(variables_of, FILES))


def test_an_environment_with_the_needed_values_alone_is_enough():
    text = (ROOT / ".env.example").read_text()
    needed = dict.fromkeys(re.findall(r"^([A-Z0-9_]+)=$", text, re.M), "filled")

    assert len(needed) == 5
    interpolated(compose(), needed)
    for name in needed:
        with pytest.raises(AssertionError, match=f"{name} is required"):
            interpolated(compose(), needed | {name: ""})


def test_the_service_is_whole():
    assert SERVICES.keys() == SERVERS | ONE_SHOTS | OURS


@pytest.mark.parametrize("name", sorted(SERVICES.keys() - ONE_SHOTS))
def test_what_runs_for_ever_is_watched_and_started_again(name: str):
    service = SERVICES[name]

    assert service["restart"] == "unless-stopped"
    assert service["healthcheck"]["test"]
    assert seconds(service["stop_grace_period"]) >= 20


@pytest.mark.parametrize("name", sorted(ONE_SHOTS))
def test_what_runs_once_is_waited_for(name: str):
    assert SERVICES[name]["restart"] == "no"
    for needy in ("api", "worker", "reconciler", "webhooks"):
        needs = SERVICES[needy]["depends_on"]
        assert needs[name]["condition"] == "service_completed_successfully"


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_no_service_can_fill_the_disk_with_logs_or_the_memory(name: str):
    assert SERVICES[name]["logging"]["options"]["max-size"]
    assert SERVICES[name]["mem_limit"]
    assert SERVICES[name]["security_opt"] == ["no-new-privileges:true"]


def test_only_api_and_storage_are_reached_from_outside_and_by_default_from_this_machine_alone():
    published = {name: s["ports"] for name, s in SERVICES.items() if "ports" in s}

    assert interpolated(published, {}) == {
        "api": ["127.0.0.1:8080:8080"],
        "s3": ["127.0.0.1:7070:7070"],
    }
    assert compose()["networks"]["private"] == {"internal": True}
    outside = {name for name, s in SERVICES.items() if "public" in s["networks"]}
    assert outside == published.keys() | {"webhooks"}  # it calls, and nobody calls it
    assert all("private" in s["networks"] for s in SERVICES.values())


def test_webhooks_are_sent_by_the_service_that_has_a_way_out():
    assert SERVICES["reconciler"]["environment"]["PGD_WEBHOOK_SENDER"] == "false"
    assert SERVICES["reconciler"]["networks"] == ["private"]
    assert SERVICES["webhooks"]["command"][-1] == "worker.webhook_sender"


def test_a_client_and_a_container_reach_the_storage_by_the_same_url():
    """Downloads are redirected to it, and the URL's signature covers the host."""
    for variables in ({}, {"S3_HOST": "files.example.org"}):
        host = variables.get("S3_HOST", "s3.localhost")
        s3 = interpolated(SERVICES["s3"], filled_in() | variables | {"S3_HOST": host})
        assert s3["networks"]["private"]["aliases"] == [host]
        for name in ("bucket", "api", "worker", "reconciler"):
            url = SERVICES[name]["environment"]["AWS_ENDPOINT_URL_S3"]
            assert interpolated(url, variables) == f"http://{host}:7070"


@every_file
def test_no_secret_is_written_down(path: Path):
    for line in path.read_text().splitlines():
        name, _, value = line.strip().partition(": ")
        if re.search("PASSWORD|SECRET|ACCESS_KEY|AUTH", name) and value:
            assert re.fullmatch(r"\$\{\w+:\?[^}]+\}", value), line
        for password in re.findall(r"://[^/@\s]*:([^@\s]*)@", line):
            assert re.fullmatch(r"\$\{\w+:\?[^}]+\}", password), line


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_every_image_is_built_here_or_pinned_by_its_tag(name: str):
    service = SERVICES[name]
    if name in OURS:
        assert service["build"]["target"] in docker_stages()
    else:
        assert re.fullmatch(r"[\w./-]+:v?\d[\w.-]*", service["image"]), service["image"]


@pytest.mark.parametrize("name", ["api", "worker"])
def test_the_images_start_what_compose_starts(name: str):
    [command] = [json.loads(rest) for what, rest in docker_stages()[name] if what == "CMD"]

    assert SERVICES[name]["command"] == command


def test_the_settings_that_compose_gives_are_settings(monkeypatch):
    environment = interpolated(SERVICES["api"]["environment"], filled_in())
    for name, value in environment.items():
        if value is not None:
            monkeypatch.setenv(name, value)

    settings = Settings()
    assert (settings.host, settings.port) == ("0.0.0.0", 8080)
    assert settings.dataset_roots == (Path("/datasets"),)
    assert settings.database_url == "postgresql://pgd:filled@postgres:5432/pgd"


def test_a_trainer_has_its_time_before_docker_kills_the_worker():
    grace_s = float(SERVICES["worker"]["environment"]["PGD_STOP_GRACE_S"])

    assert seconds(SERVICES["worker"]["stop_grace_period"]) >= grace_s + WORKER_SPARE_S


def test_the_processes_share_the_folder_that_logs_and_checkpoints_lie_in():
    for name in OURS:
        assert "data:/data" in SERVICES[name]["volumes"]
        assert SERVICES[name]["environment"]["PGD_DATA_FOLDER"] == "/data"
    mounts = [mount for service in SERVICES.values() for mount in service.get("volumes", ())]
    named = {mount.split(":")[0] for mount in mounts if isinstance(mount, str)}
    assert named == compose()["volumes"].keys()


def test_the_worker_is_given_the_gpus_and_a_machine_without_any_is_not_asked_for_them():
    [device] = SERVICES["worker"]["deploy"]["resources"]["reservations"]["devices"]
    assert (device["driver"], device["count"], device["capabilities"]) == ("nvidia", "all", ["gpu"])

    cpu = compose(ROOT / "docker-compose.cpu.yml")["services"]
    assert isinstance(cpu["worker"]["deploy"], Reset)
    arguments = {name for what, name in docker_stages()["worker-install"] if what == "ARG"}
    for service in cpu.values():
        assert {f"{name}=" for name in service["build"]["args"]} <= arguments
        assert service["image"] != interpolated(SERVICES["worker"]["image"], {})


def test_a_further_machine_runs_a_worker_and_nothing_else():
    further = compose(ROOT / "docker-compose.worker.yml")["services"]

    assert further.keys() == SERVICES.keys()
    assert {name for name, s in further.items() if "profiles" not in s} == {"worker"}
    worker = interpolated(further["worker"], filled_in() | {"PRIVATE_ADDRESS": "10.0.0.1"})
    assert "depends_on" not in worker
    here = interpolated(SERVICES["worker"]["environment"], filled_in())
    for name, value in here.items():
        if re.search("@(postgres|redis):|//s3.localhost:", value or ""):
            there = re.sub("@(postgres|redis):", "@10.0.0.1:", value)
            there = there.replace("//s3.localhost:", "//10.0.0.1:")
            assert worker["environment"].pop(name) == there
    assert worker["environment"] == {}


def test_the_first_machine_opens_the_ports_that_further_machines_use():
    first = interpolated(compose(ROOT / "docker-compose.machines.yml"), filled_in())["services"]
    opened = {p.split(":")[-1] for name in SERVERS for p in first[name]["ports"]}
    environment = SERVICES["worker"]["environment"]
    used = (environment[f"{n}"] for n in ("PGD_DATABASE_URL", "PGD_REDIS_URL"))
    ports = {re.search(r":(\d+)/", url)[1] for url in used}

    assert opened == ports | {environment["AWS_ENDPOINT_URL_S3"].rpartition(":")[2]}
    for name in OURS:
        [volume] = first[name]["volumes"]
        assert (volume["source"], volume["target"]) == ("data", "/data")
