from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from pgd_core.jobs.job import Artifact, Reason, Upload
from pgd_core.jobs.machine import Offer
from pgd_core.jobs.spec import BackboneSpec, DetectorSpec
from pgd_core.store.housekeeping import SqlHousekeeping
from tests.worker.conftest import make_old
from worker.broom import Broom
from worker.sweep_files import sweep_files

MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
MODEL = DetectorSpec(detector="fcos", backbone=BackboneSpec(name="resnet18"))


@pytest.fixture
def clean(world):
    """Sweeps the file store once."""

    def once():
        broom = Broom()
        sweep_files(world.files, SqlHousekeeping(world.engine), 7 * DAY, broom)
        return broom

    return once


def put(world, key, age=2 * DAY):
    """A file of four bytes that lies in the store for so long."""
    (world.folder / "one").write_bytes(b"1234")
    world.files.put(key, world.folder / "one")
    make_old(world.files.path(key), age)
    return key


def sent(world, name, age):
    """An upload that arrived so long ago, registered."""
    key = put(world, f"uploads/{name}", age)
    world.library.add_upload(Upload(name, "t.pth", 4, "ab" * 32, key, datetime.now(UTC) - age))
    return name


def stored(world):
    return sorted(
        file.key
        for folder in ("jobs", "teachers", "uploads", "other")
        for file in world.files.walk(folder)
    )


def trained(world, *, until=Reason.COMPLETED, register=True):
    """A job with a file in the store."""
    job = world.submit("succeed")
    _, claim = world.jobs.claim(Offer("worker-1", "default"), MINUTE)
    world.jobs.started(claim)
    key = put(world, f"jobs/{job.id}/1/student.pth", 400 * DAY)
    artifact = Artifact(job.id, 1, "student.pth", 4, "ab" * 32, key, "text/plain")
    if until is not None:
        world.jobs.finish(claim, until, artifacts=[artifact] if register else [])
    return job


def test_artifacts_and_teachers_weights_are_never_deleted(world, clean):
    job = trained(world)
    world.library.add_teacher(
        "t", MODEL, ("0",), source_job=job.id, key=f"jobs/{job.id}/1/student.pth", sha256="ab" * 32
    )
    upload = sent(world, "one", 2 * HOUR)
    teacher = world.library.add_teacher("t", MODEL, ("0",), upload=upload)
    key = put(world, f"teachers/{teacher.id}/teacher.safetensors", 400 * DAY)
    world.library.teacher_checked(teacher.id, key=key, sha256="ab" * 32)
    before = stored(world)

    assert clean().deleted == 0
    assert stored(world) == before
    assert len(before) == 3


def test_files_that_no_row_names_go_after_a_day(world, clean):
    job = trained(world, until=Reason.DIVERGED, register=False)
    teacher = world.library.add_teacher("t", MODEL, ("0",), upload=sent(world, "one", HOUR))
    put(world, f"teachers/{teacher.id}/teacher.safetensors")
    put(world, "uploads/of-no-row")
    young = put(world, f"jobs/{job.id}/1/young", 2 * HOUR)

    broom = clean()

    assert stored(world) == [young, "uploads/one"]
    assert (broom.deleted, broom.freed_bytes) == (3, 12)


def test_what_an_attempt_has_published_and_not_yet_registered_stays_while_it_runs(world, clean):
    trained(world, until=None)

    assert clean().deleted == 0
    assert len(stored(world)) == 1


def test_a_folder_that_is_none_of_the_services_is_left_alone(world, clean):
    put(world, "other/file", 400 * DAY)

    assert clean().deleted == 0


def test_a_database_that_knows_fewer_than_half_of_the_owners_deletes_nothing(world, clean):
    sent(world, "known", HOUR)
    for name in ("a", "b"):
        put(world, f"jobs/{name}/1/student.pth")

    assert clean().deleted == 0
    sent(world, "known-too", HOUR)
    assert clean().deleted == 2
    assert stored(world) == ["uploads/known", "uploads/known-too"]


def test_an_upload_goes_after_a_week_used_or_not_and_its_row_stays(world, clean):
    old, young = sent(world, "old", 8 * DAY), sent(world, "young", 6 * DAY)

    assert clean().freed_bytes == 4
    assert stored(world) == [f"uploads/{young}"]
    assert world.library.upload(old).filename == "t.pth"
    assert clean().deleted == 0


def test_an_upload_whose_teacher_is_being_checked_stays(world, clean):
    world.library.add_teacher("t", MODEL, ("0",), upload=sent(world, "old", 8 * DAY))

    assert clean().deleted == 0


def test_an_upload_stays_for_an_hour_whatever_the_settings_say(world):
    sent(world, "one", 30 * MINUTE)
    broom = Broom()

    sweep_files(world.files, SqlHousekeeping(world.engine), timedelta(0), broom)

    assert broom.deleted == 0


def test_half_written_files_go_after_a_day(world, clean):
    put(world, "teachers/a")
    half = world.folder / "files" / "teachers" / ".unfinished-abc"
    half.write_bytes(b"12345")
    make_old(half, 2 * DAY)

    assert clean().freed_bytes == 5
    assert not half.exists()


def test_a_file_that_cannot_be_deleted_holds_up_none_of_the_others(world, clean, monkeypatch):
    sent(world, "known", HOUR)
    sent(world, "known-too", HOUR)
    keys = [put(world, f"uploads/{name}") for name in ("a", "b")]
    delete = world.files.delete

    def refuses_one(key):
        if key == keys[0]:
            raise PermissionError(13, "Permission denied")
        delete(key)

    monkeypatch.setattr(world.files, "delete", refuses_one)

    assert clean().deleted == 1
    assert keys[0] in stored(world)
    assert keys[1] not in stored(world)
