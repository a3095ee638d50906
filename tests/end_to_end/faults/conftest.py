from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from pgd_core.store import migrate
from tests.end_to_end.faults.service import Service, own_redis
from tests.servers import PostgresServer, sqlite_url


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """All of this folder is slow: `make faults` runs it."""
    here = Path(__file__).parent
    for item in items:
        if item.path.is_relative_to(here):
            item.add_marker(pytest.mark.slow)


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """A server that tests may stop and start."""
    return PostgresServer()


@pytest.fixture(scope="session", params=["sqlite", "postgres"])
def database(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def service(database: str, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Service]:
    """A database, Redis and files of its own; no process yet."""
    if database == "sqlite":
        url = sqlite_url(tmp_path)
    else:
        url = request.getfixturevalue("postgres").new_database()
        migrate(url)
    with own_redis() as redis:
        service = Service(tmp_path, url, redis)
        try:
            yield service
        finally:
            service.close()
            service.redis.stop()
