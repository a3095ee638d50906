"""The contract of `TeacherStore`: what follows a teacher's check."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from pgd_core.errors import Conflict, IllegalMove, InUse, NotFound
from pgd_core.jobs.spec import job_spec_adapter

SEEN = {"detector": "fcos", "classes": 2, "share": float("nan"), "notes": ["a\x00b"]}


@pytest.fixture
def unconfirmed(library):
    """The id of a teacher of which nothing was declared, recognised."""
    teacher = library.add_teacher("big")
    library.teacher_checked(teacher.id, key="teachers/1/t", sha256="ef" * 32, recognised=SEEN)
    return teacher.id


def test_a_teacher_of_which_nothing_was_said_waits_for_its_check(library):
    teacher = library.add_teacher("big")

    assert (teacher.state, teacher.model, teacher.classes) == ("checking", {}, ())
    assert teacher.recognised is None
    assert library.teachers_to_check() == [teacher]


def test_recognised_it_waits_for_its_confirmation_and_is_checked_no_more(library, unconfirmed):
    teacher = library.teacher(unconfirmed)

    assert (teacher.state, teacher.key) == ("unconfirmed", "teachers/1/t")
    assert teacher.recognised == {"detector": "fcos", "classes": 2, "notes": ["ab"]}
    assert library.teachers_to_check() == []
    with pytest.raises(IllegalMove, match="unconfirmed"):
        library.teacher_checked(unconfirmed, key="k")


@pytest.mark.parametrize("declared", ["model", "classes"])
def test_a_declaration_in_part_does_not_spare_the_confirmation(library, model, declared):
    said = {"model": {"model": model}, "classes": {"classes": ("0", "1")}}[declared]
    teacher = library.add_teacher("big", **said)

    library.teacher_checked(teacher.id, key="k", recognised=SEEN)

    assert library.teacher(teacher.id).state == "unconfirmed"


def test_what_was_declared_whole_is_ready_with_what_was_recognised(library, model):
    teacher = library.add_teacher("big", model, ("0", "1"))

    library.teacher_checked(teacher.id, key="k", recognised=SEEN)

    assert library.teacher(teacher.id).state == "ready"
    assert library.teacher(teacher.id).recognised["detector"] == "fcos"


def test_confirmed_it_is_ready_with_the_weights_it_has(library, unconfirmed, model):
    before = library.teacher(unconfirmed)

    teacher = library.confirm_teacher(unconfirmed, model, ("cat", "dog"))

    assert library.teacher(unconfirmed) == teacher
    assert (teacher.state, teacher.classes) == ("ready", ("cat", "dog"))
    assert teacher.model == model.model_dump(mode="json")
    assert (teacher.key, teacher.sha256, teacher.recognised) == (
        before.key,
        before.sha256,
        before.recognised,
    )


def test_only_the_unconfirmed_is_confirmed_and_once(library, unconfirmed, model):
    checking, rejected = library.add_teacher("a").id, library.add_teacher("b").id
    library.teacher_checked(rejected, message="no")
    library.confirm_teacher(unconfirmed, model, ("cat", "dog"))

    for teacher_id, state in ((checking, "checking"), (rejected, "rejected")):
        with pytest.raises(IllegalMove, match=f"is {state}"):
            library.confirm_teacher(teacher_id, model, ("cat",))
    with pytest.raises(IllegalMove, match="is ready"):
        library.confirm_teacher(unconfirmed, model, ("eel", "owl"))
    assert library.teacher(unconfirmed).classes == ("cat", "dog")
    with pytest.raises(NotFound):
        library.confirm_teacher("none", model, ("cat",))


def test_of_two_that_confirm_at_once_one_does(library, unconfirmed, model):
    def confirm(name):
        try:
            return library.confirm_teacher(unconfirmed, model, (name,)).classes
        except IllegalMove:
            return None

    with ThreadPoolExecutor(2) as threads:
        found = list(threads.map(confirm, ["cat", "dog"]))

    assert found.count(None) == 1
    assert library.teacher(unconfirmed).classes in found


def test_a_deleted_teacher_is_gone_but_for_its_detector(library, model):
    teacher = library.add_teacher("big", model, ("0",), key="jobs/1/t", sha256="a")

    assert library.delete_teacher(teacher.id) == teacher

    for gone in (library.teacher, library.delete_teacher):
        with pytest.raises(NotFound):
            gone(teacher.id)
    assert library.teachers() == []
    assert library.teacher_model(teacher.id) == model.model_dump(mode="json")
    with pytest.raises(NotFound):
        library.teacher_model("none")


def test_what_is_deleted_while_it_is_checked_gets_no_result(library):
    teacher = library.add_teacher("big")
    library.delete_teacher(teacher.id)

    with pytest.raises(NotFound):
        library.teacher_checked(teacher.id, key="k")
    assert library.teachers_to_check() == []


def specs(teacher_id, model):
    """One spec of each kind that names a teacher."""
    student = {"name": "mobilenet_v2"}
    named = {"dataset": "d", "teacher": teacher_id}
    for spec in (
        {"kind": "distill", **named, "student": student},
        {"kind": "evaluate", **named},
        {"kind": "analyse", **named},
        {"kind": "export", **named},
        {
            "kind": "study",
            "name": "which?",
            "dataset": "d",
            "student": student,
            "teachers": {"mine": {"model": model.model_dump(mode="json")}, "big": teacher_id},
        },
    ):
        yield job_spec_adapter.validate_python(spec)


def test_a_teacher_that_any_kind_of_job_still_needs_is_kept(library, jobs, model):
    teacher = library.add_teacher("big", model, ("0",), key="k", sha256="a")
    for spec in specs(teacher.id, model):
        job = jobs.submit(spec)
        with pytest.raises(InUse, match=rf"job {job.id} \(queued\)"):
            library.delete_teacher(teacher.id)
        jobs.cancel(job.id)

    assert library.delete_teacher(teacher.id) == teacher


def test_a_paused_job_needs_its_teacher_and_the_first_five_are_named(library, jobs, model):
    teacher = library.add_teacher("big", model, ("0",), key="k", sha256="a")
    spec = next(specs(teacher.id, model))
    ids = [jobs.submit(spec).id for _ in range(7)]
    jobs.pause(ids[0])

    with pytest.raises(InUse, match="and 2 more") as refused:
        library.delete_teacher(teacher.id)

    assert f"job {ids[0]} (paused)" in refused.value.message
    assert ids[5] not in refused.value.message


def test_a_jobs_name_is_no_use_of_a_teacher(library, jobs, model):
    teacher, other = (library.add_teacher("t", model, ("0",), key="k").id for _ in range(2))
    spec = next(specs(other, model)).model_copy(update={"name": f"not {teacher}"})
    jobs.submit(spec)

    library.delete_teacher(teacher)

    with pytest.raises(Conflict):
        library.delete_teacher(other)
