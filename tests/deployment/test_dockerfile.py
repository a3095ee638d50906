"""The Dockerfile's two images, as far as a parser sees them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from importlib.metadata import requires

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from pgd_core.settings import Settings
from tests.deployment.files import ROOT, docker_stages, pyproject

STAGES = docker_stages()
PROJECT = pyproject()["project"]
EXTRAS = PROJECT["optional-dependencies"]
IMAGES = ("api", "worker")


def extras_of(image: str) -> set[str]:
    [text] = re.findall(r"'\.\[([\w,]+)\]'", str(STAGES[f"{image}-install"]))
    return set(text.split(","))


def words(stage: str, instruction: str) -> list[str]:
    return [rest for what, rest in STAGES[stage] if what == instruction]


def ancestors(stage: str) -> Iterator[str]:
    """The stage and those it is made from."""
    while stage in STAGES:
        yield stage
        [stage] = [rest.split(" AS ")[0] for rest in words(stage, "FROM")]


@pytest.mark.parametrize("image", IMAGES)
def test_an_image_stops_on_sigterm_reaps_its_children_and_says_how_it_is(image: str):
    inherited = [part for stage in ancestors(image) for part in STAGES[stage]]

    assert ("STOPSIGNAL", "SIGTERM") in inherited
    assert ("ENTRYPOINT", '["/usr/bin/tini", "--"]') in inherited
    assert any("PYTHONDONTWRITEBYTECODE=1" in rest for what, rest in inherited if what == "ENV")
    [health] = words(image, "HEALTHCHECK")
    assert json.loads(health.partition("CMD ")[2])[0] == "python"
    assert words(image, "USER") == ["pgd"]
    after_user = STAGES[image][STAGES[image].index(("USER", "pgd")) :]
    assert {what for what, _ in after_user}.isdisjoint({"RUN", "COPY"})


def test_the_bases_are_pinned():
    [python] = words("", "ARG")

    assert re.fullmatch(r"PYTHON_IMAGE=python:3\.11\.\d+-slim-\w+", python)
    bases = {words(stage, "FROM")[0].split(" AS ")[0] for stage in STAGES if stage}
    assert bases - STAGES.keys() == {"${PYTHON_IMAGE}"}


def test_what_is_copied_is_there_and_not_ignored():
    ignored, *lines = [
        line
        for line in (ROOT / ".dockerignore").read_text().splitlines()
        if line and not line.startswith("#")
    ]
    assert ignored == "*"
    sent = {line[1:] for line in lines if line.startswith("!")}
    copied: set[str] = set()
    for stage in STAGES:
        for rest in words(stage, "COPY"):
            if not rest.startswith("--from="):
                copied |= set(rest.split()[:-1])

    assert copied == sent
    assert all((ROOT / name).exists() for name in copied)


@pytest.mark.parametrize("image", IMAGES)
def test_all_packages_are_installed_from_the_constraints(image: str):
    packages = {name.rstrip("*") for name in find_packages()}
    steps = str(STAGES[f"{image}-install"])

    assert {rest.split()[0] for rest in words(f"{image}-install", "COPY")} == packages
    for command in re.findall(r"pip install [^&)]*", steps):
        assert "-c constraints.txt" in command or "--force-reinstall ." in command
    assert extras_of(image) <= EXTRAS.keys()


def find_packages() -> list[str]:
    found = pyproject()["tool"]["setuptools"]["packages"]["find"]["include"]
    assert isinstance(found, list)
    return found


def test_the_variables_of_the_images_are_settings():
    names = set(re.findall(r"\b(PGD_\w+)=", (ROOT / "Dockerfile").read_text()))

    assert names == {"PGD_DATA_FOLDER", "PGD_HOST", "PGD_PORT"}
    assert names <= {f"PGD_{name.upper()}" for name in Settings.model_fields}


def needed(requirements: Iterable[str]) -> set[str]:
    """All distributions that are installed with these, by what is installed here."""
    waiting, seen = [Requirement(text) for text in requirements], set()
    while waiting:
        requirement = waiting.pop()
        key = (canonicalize_name(requirement.name), frozenset(requirement.extras))
        if key in seen:
            continue
        seen.add(key)
        environments = [{"extra": extra} for extra in ("", *requirement.extras)]
        waiting += [
            part
            for part in map(Requirement, requires(requirement.name) or ())
            if part.marker is None or any(map(part.marker.evaluate, environments))
        ]
    return {name for name, _ in seen}


def test_the_api_image_has_no_torch_and_the_worker_image_has():
    def installed(image: str) -> set[str]:
        extras = [part for extra in extras_of(image) for part in EXTRAS.get(extra, ())]
        return needed([*PROJECT["dependencies"], *extras])

    heavy = {"torch", "mmdet", "mmengine", "mmcv-lite", "scipy", "opencv-python"}
    assert heavy <= installed("worker")
    api = installed("api")
    assert {"fastapi", "uvicorn", "celery", "psycopg", "psycopg-binary"} <= api
    assert not heavy & api


def test_the_api_image_runs_exported_detectors():
    assert "predict" in extras_of("api")
    assert {"numpy", "onnxruntime", "pillow"} <= needed(
        [*PROJECT["dependencies"], *EXTRAS["predict"]]
    )
