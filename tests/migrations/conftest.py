"""A database of the newest schema, of each kind."""

from __future__ import annotations

import pytest

from pgd_core.store import open_engine
from tests.servers import migrated_url


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request, tmp_path):
    return migrated_url(request.param, tmp_path)


@pytest.fixture
def engine(url):
    engine = open_engine(url)
    yield engine
    engine.dispose()
