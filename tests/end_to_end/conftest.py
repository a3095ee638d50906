"""What tests of a running service share; each module says by `url` and `folder` which it runs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from api.client import Client


@pytest.fixture(scope="module")
def client(url: str) -> Iterator[Client]:
    with Client(url) as client:
        yield client


@pytest.fixture(scope="module")
def dataset(client: Client, folder: Path) -> str:
    found = client.wait_for_dataset(client.add_dataset("digits", folder / "data").id)
    assert found.state == "ready", found.report
    return found.id
