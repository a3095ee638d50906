"""The contract of `LibraryStore`."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import pytest

from pgd_core.errors import IllegalMove, NotFound
from pgd_core.jobs.job import CheckState, Upload
from pgd_core.jobs.spec import DetectorSpec

PATHS = ("/data/train.json", "/data/train", "/data/val.json", "/data/val")


@pytest.fixture
def upload(library):
    sent = Upload(
        "upload-1", "teacher.pth", 5_000_000_000, "cd" * 32, "uploads/1", datetime.now(UTC)
    )
    library.add_upload(sent)
    return sent


def test_a_new_dataset_waits_for_its_check(library):
    dataset = library.add_dataset("digits", *PATHS)

    assert dataset.state is CheckState.CHECKING
    assert (dataset.train_annotations, dataset.val_images) == (PATHS[0], PATHS[3])
    assert library.dataset(dataset.id) == dataset
    assert library.datasets_to_check() == [dataset]


@pytest.mark.parametrize(("usable", "state"), [(True, "ready"), (False, "rejected")])
def test_a_checked_dataset_is_ready_or_rejected(library, usable, state):
    dataset = library.add_dataset("digits", *PATHS)

    report = {"errors": [], "share": float("nan")}
    library.dataset_checked(
        dataset.id, usable=usable, report=report, sha256="ab" * 32, classes=("0", "1")
    )

    checked = library.dataset(dataset.id)
    assert (checked.state, checked.classes, checked.sha256) == (state, ("0", "1"), "ab" * 32)
    assert checked.report == {"errors": []}
    assert library.datasets_to_check() == []


def test_a_check_counts_once(library):
    dataset = library.add_dataset("digits", *PATHS)
    library.dataset_checked(dataset.id, usable=True, report={}, sha256="", classes=())

    with pytest.raises(IllegalMove, match="ready"):
        library.dataset_checked(dataset.id, usable=False, report={}, sha256="", classes=())
    assert library.dataset(dataset.id).state is CheckState.READY


def test_datasets_and_teachers_are_listed_newest_first(library, model):
    datasets = [library.add_dataset(name, *PATHS).id for name in "abc"]
    teachers = [library.add_teacher(name, model, ("0",)).id for name in "abc"]

    assert [d.id for d in library.datasets(limit=2)] == [datasets[2], datasets[1]]
    assert [d.id for d in library.datasets(after=datasets[1])] == [datasets[0]]
    assert [t.id for t in library.teachers(limit=2)] == [teachers[2], teachers[1]]
    assert [t.id for t in library.teachers(after=teachers[1])] == [teachers[0]]


def test_an_upload_is_kept_as_it_was_sent(library, upload):
    assert library.upload(upload.id) == upload


def test_an_uploaded_teacher_waits_for_its_check(library, model, upload):
    teacher = library.add_teacher("big", model, ("0", "1"), upload=upload.id)

    assert teacher.state is CheckState.CHECKING
    assert DetectorSpec.model_validate(teacher.model) == model
    assert library.teacher(teacher.id) == teacher
    assert library.teachers_to_check() == [teacher]

    library.teacher_checked(teacher.id, key="teachers/1/teacher.safetensors", sha256="ef" * 32)
    ready = library.teacher(teacher.id)
    assert (ready.state, ready.key) == ("ready", "teachers/1/teacher.safetensors")
    assert library.teachers_to_check() == []


def test_a_teacher_that_does_not_fit_is_rejected_with_a_message(library, model, upload):
    teacher = library.add_teacher("big", model, ("0",), upload=upload.id)

    library.teacher_checked(teacher.id, message="80 classes, not 1")

    rejected = library.teacher(teacher.id)
    assert (rejected.state, rejected.message) == ("rejected", "80 classes, not 1")
    with pytest.raises(IllegalMove):
        library.teacher_checked(teacher.id, key="k")


def test_a_job_s_own_weights_are_a_teacher_at_once(library, jobs, model, spec):
    job = jobs.submit(spec)

    teacher = library.add_teacher(
        "trained", model, ("0",), source_job=job.id, key="jobs/1/1/student.safetensors", sha256="a"
    )

    assert (teacher.state, teacher.source_job) == ("ready", job.id)


def test_of_many_who_register_a_jobs_teacher_once_one_does_and_all_get_it(
    library, jobs, model, spec
):
    job = jobs.submit(spec)

    def register(number):
        weights = {"key": "jobs/1/1/detector.safetensors", "sha256": "a"}
        name, classes = f"by {number}", ("0",)
        return library.add_teacher(name, model, classes, source_job=job.id, once=True, **weights).id

    with ThreadPoolExecutor(8) as pool:
        ids = set(pool.map(register, range(16)))

    assert ids == {teacher.id for teacher in library.teachers()}
    assert len(ids) == 1


def test_a_jobs_weights_are_as_many_teachers_as_people_ask_for(library, jobs, model, spec):
    job = jobs.submit(spec)
    for name in ("one", "two"):
        library.add_teacher(name, model, ("0",), source_job=job.id, key="k", sha256="a")

    assert [teacher.name for teacher in library.teachers()] == ["two", "one"]


def test_what_does_not_exist_is_not_found(library, model):
    for look in (library.dataset, library.teacher, library.upload):
        with pytest.raises(NotFound, match="no-such-id"):
            look("no-such-id")
    with pytest.raises(NotFound):
        library.teacher_checked("no-such-id", key="k")
    with pytest.raises(NotFound):
        library.dataset_checked("no-such-id", usable=True, report={}, sha256="", classes=())
    with pytest.raises(NotFound, match="upload"):
        library.add_teacher("big", model, ("0",), upload="no-such-id")
