from __future__ import annotations

import csv
import json
from datetime import timedelta

import pytest
from sqlalchemy import update

from pgd_core.jobs.job import Artifact, Job, JobState, Reason
from pgd_core.jobs.machine import Offer, PlacementChange
from pgd_core.jobs.run import ProgressLine
from pgd_core.jobs.spec import DetectorSpec, StudyJob
from pgd_core.store import SqlStudyStore, SqlTeamStore
from pgd_core.store.engine import writing
from pgd_core.store.tables import JobRow
from worker.studies import StudyDriver

MINUTE = timedelta(minutes=1)
MODEL = {"detector": "fcos", "backbone": {"name": "resnet18"}}


class StudyWorld:
    """A driver, and a worker that ends each job as a test says."""

    def __init__(self, world) -> None:
        self.world, self.jobs = world, world.jobs
        self.studies = SqlStudyStore(world.engine)
        self.driver = StudyDriver(
            self.studies, world.jobs, world.library, world.files, world.folder / "scratch"
        )

    def teacher(self) -> str:
        model = DetectorSpec.model_validate(MODEL)
        return self.world.library.add_teacher("big", model, ("0", "1"), key="t/1", sha256="a").id

    def submit(self, **more) -> Job:
        base = {
            "kind": "study",
            "name": "which?",
            "dataset": self.world.dataset,
            "student": {"name": "mobilenet_v2"},
        }
        given = {"teachers": {"fcos": {"model": MODEL}}} | more
        return self.jobs.submit(StudyJob.model_validate(base | given))

    def work(self, *endings: Reason, ap: float = 10.0) -> list[str]:
        """End the next jobs; the names of those that were run."""
        names = []
        for reason in endings:
            job, claim = self.jobs.claim(Offer("worker", "default"), MINUTE)
            self.jobs.started(claim)
            names.append(job.name)
            ap += 1
            found = {"metrics": {"AP": ap}}
            result = {"detector": found} if job.kind == "train" else {"distilled": found}
            weights = Artifact(job.id, 1, "detector.safetensors", 3, "cd" * 32, "jobs/x/1/w", "x/y")
            if reason is Reason.COMPLETED:
                self.jobs.finish(claim, reason, result=result, artifacts=[weights])
            else:
                self.jobs.finish(claim, reason, "told")
        return names

    def queued(self) -> list[str]:
        return [job.name for job in self.jobs.list(state=JobState.QUEUED)][::-1]


@pytest.fixture
def study_world(world) -> StudyWorld:
    return StudyWorld(world)


def test_a_study_trains_its_teacher_then_its_students_then_makes_its_table(study_world):
    study = study_world.submit()
    study_world.driver.advance_all()
    assert study_world.queued() == ["teacher fcos"]

    study_world.work(Reason.COMPLETED, ap=39)
    study_world.driver.advance_all()
    assert study_world.queued() == [
        "fcos: plain student, seed 0",
        "fcos: head-only student, seed 0",
        "fcos: PGD, seed 0",
    ]
    study_world.work(*[Reason.COMPLETED] * 3)
    study_world.driver.advance_all()

    study = study_world.jobs.get(study.id)
    assert (study.state, study.reason) == (JobState.SUCCEEDED, Reason.COMPLETED)
    assert [row["metrics"]["AP"]["mean"] for row in study.result["rows"]] == [11, 12, 13]
    assert study.result["rows"][2]["gain_over"]["plain"]["mean"] == 2
    assert study.result["teachers"]["fcos"]["metrics"]["AP"] == 40


def test_the_teacher_that_a_study_trains_is_its_teams(study_world):
    SqlTeamStore(study_world.world.engine).put(
        "vision", weight=1, max_running_gpus=None, max_queued_jobs=None
    )
    study = study_world.submit()
    study_world.jobs.change(study.id, PlacementChange(team="vision"))
    study_world.driver.advance_all()
    study_world.work(Reason.COMPLETED)
    study_world.driver.advance_all()

    (teacher,) = study_world.world.library.teachers()
    assert teacher.team == "vision"


def test_the_table_is_published_for_programs_people_and_the_eye(study_world):
    study = study_world.submit(teachers={"fcos": study_world.teacher()})
    study_world.driver.advance_all()
    study_world.work(*[Reason.COMPLETED] * 3)
    study_world.driver.advance_all()

    files = {
        a.name: study_world.world.files.path(a.key) for a in study_world.jobs.artifacts(study.id)
    }
    assert set(files) == {"study.json", "study.md", "study.csv", "study.png"}
    assert json.loads(files["study.json"].read_text()) == study_world.jobs.get(study.id).result
    assert "| fcos | PGD | 13.0 | +2.0 | +1.0 | 1 |" in files["study.md"].read_text()
    rows = list(csv.DictReader(files["study.csv"].read_text().splitlines()))
    assert [(row["setting"], row["ap"]) for row in rows][2] == ("PGD", "13.0")
    assert files["study.png"].read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"


def test_a_failed_child_leaves_a_gap(study_world):
    study = study_world.submit(teachers={"fcos": study_world.teacher()})
    study_world.driver.advance_all()
    study_world.work(Reason.COMPLETED, Reason.DIVERGED, Reason.COMPLETED)
    study_world.driver.advance_all()

    study = study_world.jobs.get(study.id)
    assert study.state is JobState.SUCCEEDED
    assert [row["gaps"] for row in study.result["rows"]] == [0, 1, 0]
    assert "head_only" not in {
        kind for row in study.result["rows"] for kind, found in row["gain_over"].items() if found
    }


def test_a_study_without_any_result_fails_and_says_where_to_look(study_world):
    study = study_world.submit()
    study_world.driver.advance_all()
    study_world.work(Reason.DIVERGED)
    study_world.driver.advance_all()

    study = study_world.jobs.get(study.id)
    assert (study.state, study.reason) == (JobState.FAILED, Reason.CHILDREN_FAILED)
    assert study.result["rows"][0]["runs"][0]["message"] == "its teacher failed"


def test_cancelling_a_study_cancels_its_jobs(study_world):
    study = study_world.submit(teachers={"fcos": study_world.teacher()})
    study_world.driver.advance_all()
    running, _ = study_world.jobs.claim(Offer("worker", "default"), MINUTE)
    study_world.jobs.cancel(study.id)
    study_world.driver.advance_all()

    assert study_world.jobs.get(study.id).state is JobState.CANCELLED
    assert study_world.jobs.get(running.id).cancel_requested
    assert study_world.queued() == []


def test_a_study_sent_again_runs_only_what_is_missing(study_world):
    study_world.submit()
    study_world.driver.advance_all()
    study_world.work(Reason.COMPLETED)
    study_world.driver.advance_all()
    study_world.work(Reason.COMPLETED, Reason.COMPLETED, Reason.OUT_OF_MEMORY)
    study_world.driver.advance_all()

    again = study_world.submit()
    study_world.driver.advance_all()
    assert study_world.queued() == ["fcos: PGD, seed 0"]
    study_world.work(Reason.COMPLETED)
    study_world.driver.advance_all()
    assert [row["gaps"] for row in study_world.jobs.get(again.id).result["rows"]] == [0, 0, 0]


def test_a_driver_that_was_killed_is_followed_by_one_that_goes_on(study_world):
    study = study_world.submit(teachers={"fcos": study_world.teacher()})
    study_world.driver.advance_all()
    before = study_world.queued()
    StudyWorld(study_world.world).driver.advance_all()
    assert study_world.queued() == before
    assert len(study_world.studies.children(study.id)) == 3


def test_progress_counts_the_shares_of_jobs_that_run(study_world):
    study = study_world.submit(teachers={"fcos": study_world.teacher()})
    study_world.driver.advance_all()
    study_world.work(Reason.COMPLETED)
    _, claim = study_world.jobs.claim(Offer("worker", "default"), MINUTE)
    study_world.jobs.started(claim)
    half = ProgressLine(type="train", at="2026-01-01T00:00:00Z", done=0.5)
    study_world.jobs.heartbeat(claim, MINUTE, [half])
    study_world.driver.advance_all()
    assert study_world.jobs.get(study.id).progress["done"] == 0.5


def test_a_study_whose_teacher_is_gone_fails_in_words(study_world):
    study = study_world.submit(teachers={"fcos": "gone"})
    study_world.driver.advance_all()
    ended = study_world.jobs.get(study.id)
    assert (ended.state, ended.message) == (JobState.FAILED, "no teacher gone")


def test_a_teacher_that_is_deleted_as_its_study_goes_on_is_registered_again(
    study_world, monkeypatch
):
    library = study_world.world.library
    study = study_world.submit()
    study_world.driver.advance_all()
    study_world.work(Reason.COMPLETED)
    add = library.add_teacher

    def deleted_at_once(*arguments, **named):
        teacher = add(*arguments, **named)
        library.delete_teacher(teacher.id)
        return teacher

    monkeypatch.setattr(library, "add_teacher", deleted_at_once)
    study_world.driver.advance_all()
    assert (study_world.queued(), study_world.jobs.get(study.id).state) == ([], "running")

    monkeypatch.undo()
    study_world.driver.advance_all()
    assert len(study_world.queued()) == 3
    assert len(library.teachers()) == 1


def test_a_study_without_its_data_set_fails_in_words(study_world):
    world, teacher = study_world.world, study_world.teacher()
    study = study_world.submit(teachers={"fcos": teacher})
    with writing(world.engine) as session:
        session.execute(update(JobRow).values(state=JobState.CANCELLED))
    world.library.delete_dataset(world.dataset)
    with writing(world.engine) as session:
        session.execute(update(JobRow).values(state=JobState.QUEUED))

    study_world.driver.advance_all()

    ended = study_world.jobs.get(study.id)
    assert ended.state is JobState.FAILED
    assert "data set 'digits' version 1" in ended.message


def queue_at_most(study_world, jobs):
    SqlTeamStore(study_world.world.engine).put(
        "default", weight=1, max_running_gpus=None, max_queued_jobs=jobs
    )


def test_a_study_whose_team_may_queue_no_more_says_so_and_goes_on_when_it_may(study_world):
    study = study_world.submit(teachers={"fcos": study_world.teacher()})
    queue_at_most(study_world, 2)
    study_world.driver.advance_all()

    told = study_world.jobs.get(study.id)
    assert (told.state, len(study_world.queued())) == (JobState.RUNNING, 2)
    assert told.progress["message"].startswith("0 of 3 jobs have ended; the next has to wait: ")
    assert "team 'default' has 2 jobs waiting, and may have 2" in told.progress["message"]

    study_world.work(Reason.COMPLETED)
    study_world.driver.advance_all()
    assert study_world.queued() == ["fcos: head-only student, seed 0", "fcos: PGD, seed 0"]
    study_world.work(Reason.COMPLETED, Reason.COMPLETED)
    study_world.driver.advance_all()

    study = study_world.jobs.get(study.id)
    assert (study.state, [row["gaps"] for row in study.result["rows"]]) == ("succeeded", [0, 0, 0])


def test_a_study_is_not_concluded_over_the_jobs_that_it_may_not_queue_yet(study_world):
    study = study_world.submit(teachers={"fcos": study_world.teacher()})
    queue_at_most(study_world, 1)
    for name in ("fcos: plain student, seed 0", "fcos: head-only student, seed 0"):
        study_world.driver.advance_all()
        assert study_world.work(Reason.COMPLETED) == [name]
    queue_at_most(study_world, 0)
    study_world.driver.advance_all()

    told = study_world.jobs.get(study.id)
    assert (told.state, told.progress["jobs"]) == ("running", {"ended": 2, "total": 3})


def test_a_teacher_that_may_not_be_queued_yet_is_told_too(study_world):
    study = study_world.submit()
    queue_at_most(study_world, 0)
    study_world.studies.begin(study.id)
    study_world.driver.advance_all()

    assert "may have 0" in study_world.jobs.get(study.id).progress["message"]


def test_a_study_that_this_version_does_not_understand_ends_and_holds_up_no_other(study_world):
    old, good = (study_world.submit() for _ in range(2))
    with writing(study_world.world.engine) as session:
        spec = old.spec | {"a_setting_of_once": 1}
        session.execute(update(JobRow).where(JobRow.id == old.id).values(spec=spec))
    study_world.driver.advance_all()

    ended = study_world.jobs.get(old.id)
    assert (ended.state, ended.reason) == (JobState.FAILED, Reason.INVALID_SPEC)
    assert "a_setting_of_once" in ended.message
    assert study_world.jobs.get(good.id).state is JobState.RUNNING
