"""The contract of `StudyStore`."""

from __future__ import annotations

from datetime import timedelta

import pytest
from sqlalchemy import update

from pgd_core.errors import Conflict, InvalidSpec
from pgd_core.jobs.job import JobState, Reason
from pgd_core.jobs.machine import Offer, Placement, Priority
from pgd_core.jobs.spec import DistillJob, StudyJob
from pgd_core.store import SqlStudyStore, SqlTeamStore
from pgd_core.store.engine import writing
from pgd_core.store.tables import JobRow

MINUTE = timedelta(minutes=1)


@pytest.fixture
def studies(engine) -> SqlStudyStore:
    return SqlStudyStore(engine)


@pytest.fixture
def study_spec() -> StudyJob:
    return StudyJob(kind="study", dataset="d", teachers={"fcos": "t"}, student={"name": "resnet18"})


@pytest.fixture
def study(jobs, studies, study_spec):
    return studies.begin(jobs.submit(study_spec, Placement("gpu", priority=Priority.HIGH)).id)


def ended(jobs, reason=Reason.COMPLETED, pool="gpu"):
    _, claim = jobs.claim(Offer("worker", pool), MINUTE)
    jobs.started(claim)
    return jobs.finish(claim, reason)


def kinds(jobs, job_id):
    return [event.kind for event in jobs.events(job_id)]


def test_no_worker_is_given_or_told_of_a_study(jobs, studies, study_spec):
    job = jobs.submit(study_spec, Placement("gpu"))

    assert jobs.claim(Offer("worker", "gpu"), MINUTE) is None
    assert jobs.pending_hints(again_after=MINUTE) == []
    assert [found.id for found in studies.active()] == [job.id]


def test_a_running_study_has_no_lease_that_could_run_out(jobs, studies, study):
    assert study.state is JobState.RUNNING
    assert jobs.expire_leases() == []
    assert studies.begin(study.id) == study


def test_an_adopted_job_is_the_same_again_and_goes_into_the_studys_queue(
    jobs, studies, study, spec
):
    child = studies.adopt(study.id, "a", spec)

    assert studies.adopt(study.id, "a", spec) == child
    assert (child.pool, child.priority) == ("gpu", 1)
    assert studies.children(study.id) == {"a": child}
    assert kinds(jobs, study.id) == ["submitted", "started", "child_submitted"]


def test_a_study_that_is_sent_again_runs_only_what_is_missing(
    jobs, studies, study, study_spec, spec
):
    other = spec.model_copy(update={"name": "another"})
    done, failed = (studies.adopt(study.id, key, s) for key, s in (("a", spec), ("b", other)))
    ended(jobs)
    ended(jobs, Reason.DIVERGED)
    studies.end(study.id, Reason.COMPLETED)

    again = studies.begin(jobs.submit(study_spec, Placement("gpu")).id)
    assert studies.adopt(again.id, "a", spec).id == done.id
    assert studies.adopt(again.id, "b", other).id != failed.id
    assert kinds(jobs, again.id)[-2:] == ["child_reused", "child_submitted"]


def test_a_job_of_another_team_is_not_adopted(engine, jobs, studies, study, spec):
    SqlTeamStore(engine).put("vision", weight=1, max_running_gpus=None, max_queued_jobs=None)
    theirs = jobs.submit(spec, Placement("gpu", "vision"))

    assert studies.adopt(study.id, "a", spec).id != theirs.id


def test_a_job_that_is_to_be_cancelled_is_not_adopted_again(jobs, studies, study, spec):
    running = studies.adopt(study.id, "a", spec)
    jobs.claim(Offer("worker", "gpu"), MINUTE)
    jobs.cancel(running.id)
    assert studies.adopt(study.id, "b", spec).id != running.id


def test_a_study_that_is_to_be_cancelled_takes_no_more_jobs(jobs, studies, study, spec):
    assert jobs.cancel(study.id).cancel_requested

    with pytest.raises(Conflict, match="takes no more jobs"):
        studies.adopt(study.id, "a", spec)
    assert studies.end(study.id, Reason.CANCELLED_BY_USER).state is JobState.CANCELLED
    assert studies.active() == []


def distill(teacher_id):
    student = {"name": "mobilenet_v2"}
    return DistillJob(kind="distill", dataset="d", teacher=teacher_id, student=student)


def test_a_job_whose_own_teacher_was_deleted_just_now_is_asked_for_again_later(
    jobs, studies, study, library, model
):
    teacher = library.add_teacher("made", model, ("0",), key="k")
    library.delete_teacher(teacher.id)

    with pytest.raises(Conflict, match=f"teacher 'made' .{teacher.id}. was deleted"):
        studies.adopt(study.id, "a", distill(teacher.id))

    assert studies.children(study.id) == {}
    assert len(jobs.list()) == 1


def test_a_study_that_names_what_was_deleted_before_anybody_asked_gets_no_job(
    jobs, studies, engine, library, model
):
    teacher = library.add_teacher("big", model, ("0",), key="k").id
    named = {"teachers": {"fcos": teacher}, "student": {"name": "resnet18"}}
    study = studies.begin(jobs.submit(StudyJob(kind="study", dataset="d", **named)).id)
    with writing(engine) as session:
        session.execute(update(JobRow).values(state=JobState.CANCELLED))
    library.delete_teacher(teacher)
    with writing(engine) as session:
        session.execute(update(JobRow).values(state=JobState.RUNNING))

    with pytest.raises(InvalidSpec, match="teacher 'big'"):
        studies.adopt(study.id, "a", distill(teacher))

    assert studies.children(study.id) == {}


def test_a_job_that_another_study_needs_is_not_cancelled_with_this_one(
    jobs, studies, study, study_spec, spec
):
    mine = spec.model_copy(update={"name": "mine"})
    other = studies.begin(jobs.submit(study_spec).id)
    shared = studies.adopt(study.id, "a", spec)
    assert studies.adopt(other.id, "a", spec).id == shared.id
    alone = studies.adopt(study.id, "b", mine)

    assert [job.id for job in studies.children_of_no_other(study.id)] == [alone.id]
    studies.end(other.id, Reason.COMPLETED)
    both = [job.id for job in studies.children_of_no_other(study.id)]
    assert both == [shared.id, alone.id]


def test_progress_is_told_while_it_runs_only(jobs, studies, study):
    studies.tell(study.id, {"done": 0.5})
    studies.end(study.id, Reason.COMPLETED, result={"rows": []})
    studies.tell(study.id, {"done": 0.1})

    found = jobs.get(study.id)
    assert (found.progress, found.result) == ({"done": 0.5}, {"rows": []})
