"""A database of the newest schema, of each kind."""

from __future__ import annotations

import pytest

from pgd_core.store import migrate, open_engine
from tests.servers import postgres_url, sqlite_url


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request, tmp_path):
    if request.param == "sqlite":
        return sqlite_url(tmp_path)
    url = postgres_url()
    migrate(url)
    return url


@pytest.fixture
def engine(url):
    engine = open_engine(url)
    yield engine
    engine.dispose()
