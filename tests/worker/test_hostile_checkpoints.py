from __future__ import annotations

import re
from datetime import UTC, datetime

import pytest

from pgd_core.jobs.job import Upload
from pgd_core.jobs.spec import BackboneSpec, DetectorSpec
from tests.pgd_core.training.hostile_checkpoints import CASES
from worker.checks import Checker
from worker.confine import CheckLimits

# Importing torch alone takes some seconds; the memory is what it maps and little more.
LIMITS = CheckLimits(wall_s=120, cpu_s=15, memory_bytes=12 * 2**30, file_bytes=2**26)

# A process of its own for each: the rest of the corpus is read directly, in its own test.
SENT = (
    "os.system",
    "a key that never ends to be hashed",
    *(
        pytest.param(name, marks=pytest.mark.slow)
        for name in ("an old storage of 10¹³", "a header of 2⁶⁰ bytes", "a bomb", "TorchScript")
    ),
)


def everything_else(world, teacher_id):
    """What lies under the world's folder, without the database and what the store keeps."""
    return {
        path
        for path in world.folder.rglob("*")
        if path.suffix not in {".db", ".db-wal", ".db-shm"} and teacher_id not in str(path)
    }


@pytest.mark.slow  # tests/api/test_hostile_uploads.py sends some of them through all of it
@pytest.mark.parametrize("name", SENT)
def test_a_hostile_upload_is_rejected_end_to_end_and_leaves_nothing(name, world):
    case, sent, canary = CASES[name], world.folder / "sent", world.folder / "canary"
    case.write(sent, canary)
    size, sha256 = world.files.put("uploads/1", sent)
    upload = Upload("1", "teacher.pth", size, sha256, "uploads/1", datetime.now(UTC))
    world.library.add_upload(upload)
    model = DetectorSpec(detector="fcos", backbone=BackboneSpec(name="resnet50"))
    teacher = world.library.add_teacher("big", model, ("0", "1"), upload=upload.id)
    checks = world.folder / "checks"
    checks.mkdir()
    before = everything_else(world, teacher.id)

    checker = Checker(world.library, world.files, checks, teacher_limits=LIMITS)
    checker.check_all()

    rejected = world.library.teacher(teacher.id)
    assert (rejected.state, rejected.key) == ("rejected", "")
    assert re.search(case.says, rejected.message)
    assert not canary.exists()
    assert everything_else(world, teacher.id) == before
    assert not list((world.folder / "files" / "teachers").glob("**/*.safetensors"))
