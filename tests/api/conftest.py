"""The API over a real SQLite and a real file store, with no Redis: hints are written down."""

from __future__ import annotations

import shutil
import socket
import threading
import warnings
from collections.abc import Callable, Iterator
from copy import deepcopy
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from typer.testing import CliRunner

from api.cli import app as pgd_command
from api.main import create_app
from api.services import Services
from pgd_core.jobs.job import Artifact, Claim, Job, Reason
from pgd_core.jobs.keys import ALL_TEAMS, Role
from pgd_core.jobs.machine import Device, Offer, Worker
from pgd_core.jobs.run import ProgressLine
from pgd_core.jobs.spec import DetectorSpec
from pgd_core.settings import Settings
from pgd_core.store import migrate

with warnings.catch_warnings(action="ignore"):  # Starlette would rather have httpx2
    from fastapi.testclient import TestClient

CLASSES = ("cat", "dog")
MODEL = {"detector": "fcos", "backbone": {"name": "resnet18"}, "head_width": 64, "norm_groups": 8}
LEASE = timedelta(seconds=60)


class NotedHints:
    """Writes down the pools that were hinted, or fails as a dead Redis does."""

    def __init__(self) -> None:
        self.pools: list[str] = []
        self.dead = False

    def send(self, pool: str) -> None:
        if self.dead:
            raise ConnectionError("no Redis")
        self.pools.append(pool)


OPERATOR = "tests"  # the name of the key that tests come with


class World:
    """An API with what the tests put behind it; `http` comes with an operator's key."""

    def __init__(self, settings: Settings, roots: Path) -> None:
        self.settings = settings
        self.roots = roots
        self.hints = NotedHints()
        self.app = create_app(settings, hints=self.hints)
        services = self.app.state.services
        assert isinstance(services, Services)
        self.services = services
        _, self.secret = services.keys.create(OPERATOR, ALL_TEAMS, Role.ADMIN)
        self.http = self.caller(self.secret)

    def caller(self, secret: str | None) -> TestClient:
        """A client that comes with this key, or with none."""
        headers = {} if secret is None else {"Authorization": f"Bearer {secret}"}
        return TestClient(self.app, headers=headers, raise_server_exceptions=False)

    def secret_of(self, role: str, team: str = "default", **key: Any) -> str:
        """A new key of a team, which is made if need be."""
        if team not in {known.name for known in self.services.teams.teams()}:
            self.team(team)
        return self.services.keys.create(f"{role} of {team}", team, Role(role), **key)[1]

    def of(self, role: str, team: str = "default") -> TestClient:
        """A client with a new key of this role and team."""
        return self.caller(self.secret_of(role, team))

    def folder(self, name: str = "digits") -> Path:
        """A data set's folder inside the roots; what it holds is not looked at here."""
        folder = self.roots / name
        for part in ("train", "val"):
            (folder / part).mkdir(parents=True, exist_ok=True)
            (folder / f"{part}.json").write_text("{}")
        return folder

    def dataset(
        self, *, classes: tuple[str, ...] = CLASSES, ready: bool = True, team: str = "default"
    ) -> str:
        """The id of a registered data set."""
        library = self.services.library
        dataset = library.add_dataset("digits", "/d/a.json", "/d/a", "/d/b.json", "/d/b", team=team)
        if ready:
            library.dataset_checked(
                dataset.id, usable=True, report={"errors": []}, sha256="0" * 64, classes=classes
            )
        return dataset.id

    def teacher(
        self,
        *,
        classes: tuple[str, ...] = CLASSES,
        key: str = "teachers/1",
        team: str = "default",
    ) -> str:
        """The id of a registered teacher; ready unless it has no key."""
        model = DetectorSpec.model_validate(MODEL)
        library = self.services.library
        return library.add_teacher("big", model, classes, key=key, sha256="1", team=team).id

    def train_spec(self, team: str = "default", **rest: Any) -> dict[str, Any]:
        dataset = self.dataset(team=team)
        return {"kind": "train", "dataset": dataset, "model": deepcopy(MODEL), **rest}

    def distill_spec(self, **rest: Any) -> dict[str, Any]:
        student = {"name": "mobilenet_v2", "width": 0.5}
        return {
            "kind": "distill",
            "dataset": self.dataset(),
            "teacher": self.teacher(),
            "student": student,
            **rest,
        }

    def submitted(self, spec: dict[str, Any] | None = None, **query: Any) -> str:
        """The id of a job that was taken."""
        spec = spec or self.train_spec(query.get("team") or "default")
        answer = self.http.post("/v1/jobs", json=spec, params=query)
        assert answer.status_code == 202, answer.text
        return str(answer.json()["id"])

    def running(self, spec: dict[str, Any] | None = None, **query: Any) -> tuple[Job, Claim]:
        """A job in a worker's hands."""
        self.submitted(spec, **query)
        taken = self.services.jobs.claim(Offer("a worker", "default"), LEASE)
        assert taken is not None
        self.services.jobs.started(taken[1])
        return taken

    def worker(self, name: str = "gpu-1", *, gpus: int = 2, pool: str = "default") -> Worker:
        """A worker that announced itself, with GPUs of 40,000 MiB."""
        devices = tuple(Device(n, "H100", f"GPU-{name}-{n}", 40_000) for n in range(gpus))
        worker = Worker(name, "host-1", 1, pool, devices, {"python": "3.11"})
        self.services.workers.announce(worker)
        return worker

    def claimed(self, worker: Worker, *slots: int) -> tuple[Job, Claim]:
        """The next job in the worker's hands, on these of its devices."""
        free = tuple(worker.devices[slot] for slot in slots)
        taken = self.services.jobs.claim(Offer(worker.name, worker.pool, free), LEASE)
        assert taken is not None
        self.services.jobs.started(taken[1])
        return taken

    def team(self, name: str, weight: float = 1.0, **limits: int | None) -> str:
        """A team's name."""
        none: dict[str, int | None] = {"max_running_gpus": None, "max_queued_jobs": None}
        self.services.teams.put(name, weight=weight, **(none | limits))
        return name

    def forget(self) -> None:
        """What the API remembers of the pools is a second old."""
        for pool in list(self.services.places._known):
            self.services.places.forget(pool)

    def beat(self, claim: Claim, *lines: ProgressLine) -> None:
        self.services.jobs.heartbeat(claim, LEASE, lines)

    def succeeded(
        self, files: dict[str, bytes], spec: dict[str, Any] | None = None, **query: Any
    ) -> str:
        """The id of a job that published `files`."""
        job, claim = self.running(spec, **query)
        artifacts = []
        for number, (name, content) in enumerate(files.items()):
            source = self.settings.data_folder / "source"
            source.write_bytes(content)
            key = f"artifacts/{job.id}/{number}"
            size, sha256 = self.services.files.put(key, source)
            media_type = "application/octet-stream"
            artifacts.append(Artifact(job.id, job.attempt, name, size, sha256, key, media_type))
        result = {"detector": {"metrics": {"AP": 41.5}}}
        self.services.jobs.finish(claim, Reason.COMPLETED, result=result, artifacts=artifacts)
        return job.id


@pytest.fixture(scope="session")
def migrated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database with the newest schema and nothing in it."""
    path = tmp_path_factory.mktemp("database") / "pgd.sqlite"
    migrate(f"sqlite:///{path}")
    return path


@pytest.fixture
def world(tmp_path: Path, migrated: Path) -> Iterator[World]:
    roots = tmp_path / "datasets"
    data = tmp_path / "data"
    roots.mkdir()
    data.mkdir()
    shutil.copy(migrated, data / "pgd.sqlite")
    settings = Settings(
        data_folder=data, dataset_roots=(roots,), max_upload_bytes=100_000, rate_limit_per_s=0
    )
    world = World(settings, roots)
    with world.http:
        yield world


@pytest.fixture
def url(world: World, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The world's application behind a real socket; clients find the operator's key."""
    monkeypatch.setenv("PGD_API_KEY", world.secret)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = uvicorn.Server(
            uvicorn.Config(world.app, log_config=None, ws="none", lifespan="off")
        )
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            yield "http://{}:{}".format(*listener.getsockname())
        finally:
            server.should_exit = True
            thread.join()


@pytest.fixture
def pgd(url: str) -> Callable[..., str]:
    """The `pgd` command against the world's application; what it says."""

    def run(*arguments: object, code: int = 0, stdin: str | None = None) -> str:
        result = CliRunner().invoke(pgd_command, ["--url", url, *map(str, arguments)], input=stdin)
        assert result.exit_code == code, result.output + repr(result.exception)
        return result.stdout if code == 0 else result.output

    return run
