"""Every test of the store runs on SQLite and on PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from sqlalchemy import Engine, delete, update

from pgd_core.jobs.spec import BackboneSpec, DetectorSpec, TrainJob
from pgd_core.store import SqlJobStore, SqlLibraryStore, migrate, open_engine
from pgd_core.store.engine import writing
from pgd_core.store.tables import Base, TeamRow
from tests.pgd_core.store.cluster import Cluster
from tests.servers import postgres_url, sqlite_url


@pytest.fixture(scope="session")
def migrated_postgres() -> str:
    url = postgres_url()
    migrate(url)
    return url


@pytest.fixture(params=["sqlite", "postgresql"])
def engine(request: pytest.FixtureRequest, tmp_path) -> Iterator[Engine]:
    if request.param == "sqlite":
        url = sqlite_url(tmp_path)
    else:
        url = request.getfixturevalue("migrated_postgres")
    engine = open_engine(url)
    with writing(engine) as session:
        for table in reversed(Base.metadata.sorted_tables):
            if table.name != "teams":
                session.execute(table.delete())
        session.execute(delete(TeamRow).where(TeamRow.name != "default"))
        session.execute(
            update(TeamRow).values(
                weight=1, used_gpu_s=0, max_running_gpus=None, max_queued_jobs=None
            )
        )
    yield engine
    engine.dispose()


@pytest.fixture
def jobs(engine: Engine) -> SqlJobStore:
    return SqlJobStore(engine)


@pytest.fixture
def library(engine: Engine) -> SqlLibraryStore:
    return SqlLibraryStore(engine)


@pytest.fixture
def model() -> DetectorSpec:
    return DetectorSpec(detector="fcos", backbone=BackboneSpec(name="resnet18"))


@pytest.fixture
def spec(model: DetectorSpec) -> TrainJob:
    return TrainJob(kind="train", name="a student", dataset="digits", model=model)


@pytest.fixture
def cluster(engine: Engine, spec: TrainJob) -> Cluster:
    return Cluster(engine, spec)
