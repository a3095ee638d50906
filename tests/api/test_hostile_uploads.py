"""Files that claim to be checkpoints, sent over HTTP without a word and checked for real."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from pgd_core.settings import Settings
from tests.api.answers import problem_of
from tests.api.conftest import World
from tests.pgd_core.training.hostile_checkpoints import CASES, NO_FILES
from worker.checks import Checker
from worker.confine import CheckLimits

# Importing torch alone takes some seconds; the memory is what it maps and little more.
LIMITS = CheckLimits(wall_s=120, cpu_s=15, memory_bytes=12 * 2**30, file_bytes=2**26)
# A process of its own for each; over HTTP only bytes arrive, no links and no pipes.
QUICK = {"a nested call", "a second pickle behind the first", "traversal"}
SENT = [
    name if name in QUICK else pytest.param(name, marks=pytest.mark.slow)
    for name in CASES
    if name not in NO_FILES
]


@pytest.fixture
def roomy(tmp_path: Path, migrated: Path) -> Iterator[World]:
    """A service that takes the largest of them."""
    data, roots = tmp_path / "data", tmp_path / "datasets"
    data.mkdir()
    roots.mkdir()
    shutil.copy(migrated, data / "pgd.sqlite")
    settings = Settings(
        data_folder=data,
        dataset_roots=(roots,),
        max_upload_bytes=2**27,
        rate_limit_per_s=0,
    )
    world = World(settings, roots)
    with world.http:
        yield world


def outside(folder: Path, data: Path) -> dict[Path, tuple[int, int, int]]:
    """(mode, size, time of change) of all that lies beside the data folder."""
    found = [path for path in folder.rglob("*") if not path.is_relative_to(data)]
    stats = {path: path.lstat() for path in found}
    return {path: (s.st_mode, s.st_size, s.st_mtime_ns) for path, s in stats.items()}


@pytest.mark.parametrize("name", SENT)
@pytest.mark.filterwarnings("ignore::UserWarning")  # torch's, of what the corpus writes
def test_a_hostile_upload_is_rejected_with_a_reason_and_writes_nothing(
    name: str, roomy: World, tmp_path: Path
) -> None:
    case, sent, canary = CASES[name], tmp_path / "sent", tmp_path / "canary"
    case.write(sent, canary)
    data, http = roomy.settings.data_folder, roomy.http
    before = outside(tmp_path, data)

    upload = http.post("/v1/uploads", content=sent.read_bytes())
    if not sent.stat().st_size:
        problem_of(upload, 400, "bad_request")
        return
    source = {"upload": upload.json()["id"]}
    teacher_id = http.post("/v1/teachers", json={"name": "big", "source": source}).json()["id"]
    library, files = roomy.services.library, roomy.services.files
    Checker(library, files, data / "checks", teacher_limits=LIMITS).check_all()

    teacher = http.get(f"/v1/teachers/{teacher_id}").json()
    assert teacher["state"] == "rejected"
    assert re.search(case.says, teacher["message"])
    problem_of(http.post(f"/v1/teachers/{teacher_id}:confirm", json={}), 409, "not_ready")
    assert not canary.exists()
    assert outside(tmp_path, data) == before
    assert list((data / "checks").iterdir()) == []
    assert list((data / "files").glob("teachers/**/*.safetensors")) == []
