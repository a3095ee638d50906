from __future__ import annotations

import hashlib
import json
import sys
import threading
from datetime import UTC, datetime
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from pgd_core.errors import NotFound
from pgd_core.jobs.job import Upload
from pgd_core.jobs.spec import BackboneSpec, DetectorSpec
from tests.worker.conftest import checks_of, wait_for
from worker.checks import Checker
from worker.confine import CheckLimits, _without_network

FAKE_CHECK = (sys.executable, str(Path(__file__).with_name("fake_check.py")))
LIMITS = CheckLimits(wall_s=60, cpu_s=60)
SMALL = CheckLimits(wall_s=60, cpu_s=1, memory_bytes=2**30, file_bytes=2**23)


@pytest.fixture
def dataset(world):
    return world.library.add_dataset("digits", "/a.json", "/a", "/b.json", "/b")


@pytest.fixture
def teacher(world, tmp_path):
    (tmp_path / "sent").write_bytes(b"weights")
    size, sha256 = world.files.put("uploads/1", tmp_path / "sent")
    upload = Upload("1", "teacher.pth", size, sha256, "uploads/1", datetime.now(UTC))
    world.library.add_upload(upload)
    model = DetectorSpec(detector="fcos", backbone=BackboneSpec(name="resnet50"))
    return world.library.add_teacher("big", model, ("0", "1"), upload=upload.id)


def checker(world, does, limits=LIMITS):
    return Checker(
        world.library,
        world.files,
        world.folder / "checks",
        dataset_check=(*FAKE_CHECK, does),
        teacher_check=(*FAKE_CHECK, does),
        dataset_limits=limits,
        teacher_limits=limits,
    )


def check_dataset(world, dataset, does, limits=LIMITS):
    checker(world, does, limits).check_all()
    return world.library.dataset(dataset.id)


def check_teacher(world, teacher, does, limits=LIMITS):
    checker(world, does, limits).check_all()
    return world.library.teacher(teacher.id)


def test_a_usable_dataset_becomes_ready_with_its_report(world, dataset):
    checked = check_dataset(world, dataset, "dataset_usable")

    assert (checked.state, checked.classes, checked.sha256) == ("ready", ("0", "1"), "ab" * 32)
    assert checked.report["paths"] == ["/a.json", "/a", "/b.json", "/b"]
    assert list((world.folder / "checks").iterdir()) == []
    sheet = checked.report["contact_sheet"]
    assert sheet["key"] == f"datasets/{dataset.id}/contact_sheet.jpg"
    assert world.files.path(sheet["key"]).read_bytes() == b"JPEG"


def test_an_unusable_dataset_is_rejected_with_its_report(world, dataset):
    checked = check_dataset(world, dataset, "dataset_unusable")

    assert checked.state == "rejected"
    assert checked.report["errors"] == [{"code": "no_images"}]


@pytest.mark.parametrize(
    ("does", "limits", "words"),
    [
        ("crash", LIMITS, "no answer: no such format"),
        ("hang", CheckLimits(wall_s=0.3, cpu_s=60), "longer than 0.3 s"),
    ],
)
def test_a_dataset_whose_check_breaks_is_rejected_and_told_why(world, dataset, does, limits, words):
    checked = check_dataset(world, dataset, does, limits)

    assert checked.state == "rejected"
    assert words in checked.report["errors"][0]["message"]


def test_a_fitting_teacher_becomes_ready_with_its_converted_weights(world, teacher):
    checked = check_teacher(world, teacher, "teacher_usable")

    assert (checked.state, checked.message) == ("ready", "")
    assert checked.key == f"teachers/{teacher.id}/teacher.safetensors"
    assert world.files.path(checked.key).read_bytes() == b"WEIGHTS"
    assert checked.sha256 == hashlib.sha256(b"WEIGHTS").hexdigest()


def test_a_teacher_that_does_not_fit_is_rejected_with_the_reason(world, teacher):
    checked = check_teacher(world, teacher, "teacher_unusable")

    assert (checked.state, checked.message) == ("rejected", "80 classes, not 2")


@pytest.fixture
def undeclared(world, teacher):
    """A teacher of the same upload, of which nothing was said."""
    world.library.teacher_checked(teacher.id, message="the other one")
    return world.library.add_teacher("mine", upload=teacher.upload)


def test_what_nobody_declared_is_kept_as_recognised_and_converted_once(world, undeclared):
    checked = check_teacher(world, undeclared, "teacher_recognised")

    assert (checked.state, checked.model, checked.classes) == ("unconfirmed", {}, ())
    assert checked.recognised["backbone"] == "resnet50"
    assert json.loads(checked.recognised["notes"][0]) == {"model": None, "classes": None}
    assert checked.sha256 == hashlib.sha256(b"WEIGHTS").hexdigest()
    written = world.files.path(checked.key).stat().st_mtime_ns
    assert check_teacher(world, undeclared, "teacher_unusable") == checked
    assert world.files.path(checked.key).stat().st_mtime_ns == written


def test_the_check_is_told_what_was_declared_in_part(world, teacher):
    world.library.teacher_checked(teacher.id, message="the other one")
    half = world.library.add_teacher("mine", classes=("a", "b"), upload=teacher.upload)

    checked = check_teacher(world, half, "teacher_recognised")

    assert (checked.state, checked.classes) == ("unconfirmed", ("a", "b"))
    assert json.loads(checked.recognised["notes"][0]) == {"model": None, "classes": ["a", "b"]}


def test_what_is_deleted_while_its_weights_are_kept_leaves_no_file(world, undeclared, monkeypatch):
    put = world.files.put

    def deleted(key, path):
        world.library.delete_teacher(undeclared.id)
        return put(key, path)

    monkeypatch.setattr(world.files, "put", deleted)

    with pytest.raises(NotFound):
        checker(world, "teacher_recognised")._check(undeclared)

    assert world.files.keys(f"teachers/{undeclared.id}") == []


def test_a_data_set_deleted_while_its_sheet_is_kept_leaves_no_file(world, dataset, monkeypatch):
    put = world.files.put

    def deleted(key, path):
        world.library.delete_dataset(dataset.id)
        return put(key, path)

    monkeypatch.setattr(world.files, "put", deleted)

    with pytest.raises(NotFound):
        checker(world, "dataset_usable")._check(dataset)

    assert world.files.keys(f"datasets/{dataset.id}") == []


@pytest.mark.parametrize("kind", ["dataset", "teacher"])
def test_a_check_ends_once_nobody_wants_it_any_more(world, kind, request):
    thing = request.getfixturevalue(kind)
    hanging = checker(world, "hang")
    thread = threading.Thread(target=hanging.check_all)
    with capture_logs() as logged:
        thread.start()
        wait_for(lambda: checks_of(thing.id))
        getattr(world.library, f"delete_{kind}")(thing.id)
        thread.join(timeout=60)
        hanging.stop()

    assert not thread.is_alive()
    assert checks_of(thing.id) == []
    assert list((world.folder / "checks").iterdir()) == []
    assert [line["event"] for line in logged] == ["check_dropped"]


def test_a_check_ends_once_another_reconciler_has_its_answer(world, dataset):
    hanging = checker(world, "hang")
    thread = threading.Thread(target=hanging.check_all)
    thread.start()
    wait_for(lambda: checks_of(dataset.id))
    check_dataset(world, dataset, "dataset_usable")
    thread.join(timeout=60)
    hanging.stop()

    assert not thread.is_alive()
    checked = world.library.dataset(dataset.id)
    assert checked.state == "ready"
    assert world.files.path(checked.report["contact_sheet"]["key"]).read_bytes() == b"JPEG"


def test_a_file_of_another_kind_is_rejected_with_what_it_looks_like(world, undeclared):
    checked = check_teacher(world, undeclared, "teacher_of_another_kind")

    assert (checked.state, checked.message) == ("rejected", "it looks like RetinaNet")
    assert checked.recognised["detector"] == "RetinaNet"


@pytest.mark.parametrize(
    "does", ["teacher_without_model", "answer_of_another_shape", "answer_without_end"]
)
def test_an_answer_that_is_none_rejects_the_file(world, undeclared, does):
    checked = check_teacher(world, undeclared, does)

    assert (checked.state, checked.key, checked.recognised) == ("rejected", "", None)
    assert checked.message == "the check's answer cannot be read"


@pytest.mark.parametrize(
    ("does", "words"),
    [("eat_memory", "MemoryError"), ("spin", "SIG"), ("fill_disk", "File too large")],
)
def test_a_hostile_file_meets_a_limit(world, teacher, does, words):
    checked = check_teacher(world, teacher, does, SMALL)

    assert checked.state == "rejected"
    assert words in checked.message


def test_a_check_sees_no_secret_no_network_and_an_empty_folder(world, dataset, monkeypatch):
    monkeypatch.setenv("PGD_DATABASE_URL", "postgresql://user:hunter2@host/pgd")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hunter2")

    seen = check_dataset(world, dataset, "tell").report["seen"]

    assert "hunter2" not in json.dumps(seen["environment"])
    assert Path(seen["folder"]).parent == world.folder / "checks"
    assert seen["network"] is (_without_network() == ())


def test_a_check_that_is_interrupted_is_done_again(world, dataset):
    hanging = checker(world, "hang")
    thread = threading.Thread(target=hanging.check_all)
    thread.start()
    wait_for(lambda: checks_of(dataset.id))
    hanging.stop()
    thread.join()

    assert checks_of(dataset.id) == []
    assert world.library.dataset(dataset.id).state == "checking"
    assert check_dataset(world, dataset, "dataset_usable").state == "ready"


@pytest.fixture
def answers(world, monkeypatch):
    """Names of data sets in the order of their answers; what is to be done after one, by name."""
    names, after, checked = [], {}, world.library.dataset_checked

    def hear(dataset_id, **answer):
        names.append(world.library.dataset(dataset_id).name)
        checked(dataset_id, **answer)
        after.pop(names[-1], lambda: None)()

    monkeypatch.setattr(world.library, "dataset_checked", hear)
    return names, after


def add(world, name, team):
    return world.library.add_dataset(name, "/a.json", "/a", "/b.json", "/b", team=team)


def test_teams_are_checked_in_turn_and_who_comes_meanwhile_too(world, answers):
    names, after = answers
    for name in ("a1", "a2", "a3"):
        add(world, name, "a")
    after["a1"] = lambda: add(world, "b1", "b")

    checker(world, "dataset_usable").check_all()

    assert names == ["a1", "b1", "a2", "a3"]


def test_what_is_deleted_before_its_turn_is_not_checked(world, answers):
    names, after = answers
    _, second, _ = (add(world, name, "a") for name in ("a1", "a2", "a3"))
    after["a1"] = lambda: world.library.delete_dataset(second.id)

    with capture_logs() as logged:
        checker(world, "dataset_usable").check_all()

    assert names == ["a1", "a3"]
    assert [line["event"] for line in logged] == ["dataset_checked"] * 2  # nothing was dropped


def test_one_that_breaks_holds_up_no_other_and_is_tried_again(world, answers):
    names, _ = answers
    (world.folder / "checks").write_text("no folder")
    broken = add(world, "a1", "a")
    other = checker(world, "dataset_usable")
    with capture_logs() as logged:
        other.check_all()
    assert [line["event"] for line in logged] == ["check_broke"]
    (world.folder / "checks").unlink()
    add(world, "a2", "a")

    other.check_all()

    assert names == ["a2", "a1"]
    assert world.library.dataset(broken.id).state == "ready"


def test_one_check_that_cannot_be_done_does_not_hold_up_the_next(world, teacher, dataset):
    world.files.delete("uploads/1")
    checker(world, "dataset_usable").check_all()

    assert world.library.dataset(dataset.id).state == "ready"
    rejected = world.library.teacher(teacher.id)
    assert rejected.state == "rejected"
    assert "upload it again" in rejected.message
