"""One running API for all of the corpus, and a guard over the files around it."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from tests.api.hostile.watching import differences, listing
from tests.api.live import ROOT, Live, live_api

CODE = ("api", "worker", "pgd_core", "migrations", "docs")
UUID = r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"
# Where the API may write, below its data folder; ids are its own.
WRITES = rf"pgd\.sqlite(-wal|-shm)?|incoming|files(/uploads)?|files/uploads/{UUID}"


@pytest.fixture(scope="package")
def live() -> Iterator[Live]:
    """The API; when the corpus is through, nothing has changed but what the API keeps there."""
    with live_api() as live:
        data, log = live.folder / "data", live.folder / "log"
        watched = (live.folder, *(ROOT / name for name in CODE))
        around = listing(*watched, without=(data, log))
        inside = listing(data)
        yield live
        assert live.process.poll() is None, live.log()
        assert '"level": "error"' not in live.log()
        assert differences(around, listing(*watched, without=(data, log))) == []
        changed = [path.removeprefix(f"{data}/") for path in differences(inside, listing(data))]
        assert [path for path in changed if not re.fullmatch(WRITES, path)] == []
        assert list((data / "incoming").iterdir()) == []
