"""What a person sees of a result, and that the demo's jobs are jobs."""

from __future__ import annotations

import io
from datetime import UTC, datetime
from functools import partial

import pytest
from rich.console import Console

from api.client import Client
from api.demo import DemoFailed, run_demo
from api.demo_jobs import PLANS
from api.schemas import JobView
from api.terminal import clock, follow, gains, jobs_table, result_table, waits
from pgd_core.jobs.job import Reason
from pgd_core.jobs.run import ProgressLine
from pgd_core.jobs.spec import job_spec_adapter


def one(ap, parameters=1_000_000):
    return {
        "metrics": {"AP": ap, "AP50": ap + 20, "AP75": ap + 1},
        "cost": {"parameters": parameters, "gflops": 1.234, "latency_ms": 5.67},
    }


def text_of(renderable):
    console = Console(file=io.StringIO(), width=120)
    console.print(renderable)
    return console.file.getvalue()


def test_a_result_is_a_table_of_teacher_students_and_gain():
    result = {
        "distilled": one(40.0),
        "plain": one(35.0),
        "head_only": one(37.5),
        "teacher": one(50.0, 12_345_678),
        "gain": {"over_plain": 5.0, "over_head_only": -2.5},
    }

    lines = text_of(result_table(result)).splitlines()

    rows = [line for line in lines if "student" in line or "teacher" in line]
    names = [row.strip(" │").split("│")[0].strip() for row in rows]
    assert names == ["teacher", "plain student", "head-only student", "distilled student"]
    assert "12,345,678" in rows[0]
    assert "50.0" in rows[0]
    assert gains(result) == [
        "distillation gained +5.0 AP over the plain student",
        "distillation gained -2.5 AP over the head-only student",
    ]


@pytest.mark.parametrize("result", [{}, {"detector": {}}, {"gain": {"over_plain": None}}])
def test_a_result_with_nothing_in_it_breaks_nothing(result):
    assert "AP50" in text_of(result_table(result))
    assert gains(result) == []


def test_a_result_on_crowdhuman_shows_its_own_metrics():
    metrics = {"AP": 88.0, "MR": 46.04, "JI": None}
    shown = text_of(result_table({"detector": {"metrics": metrics}}))
    assert "MR" in shown
    assert "JI" in shown
    assert "AP50" not in shown
    assert "46.0" in shown


def test_a_list_of_jobs_says_every_state_whole_on_80_columns(world):
    world.succeeded({"metrics.json": b"{}"})
    job_id = world.submitted(world.train_spec(name="a student with a long name"))
    world.services.jobs.cancel(job_id)
    views = [JobView.of(job) for job in world.services.jobs.list()]
    console = Console(file=io.StringIO(), width=80)

    console.print(jobs_table(views))

    said = console.file.getvalue()
    assert job_id in said
    assert " cancelled " in said
    assert " succeeded " in said


def test_following_a_job_tells_stages_and_validations_until_it_ends(world, url):
    job, claim = world.running()
    at = "2026-01-02T03:04:05+00:00"
    world.beat(
        claim,
        ProgressLine(type="stage", at=at, message="training the plain twin"),
        ProgressLine(type="train", at=at, variant="plain", epoch=1.5, done=0.3, eta_s=61),
        ProgressLine(type="validation", at=at, variant="plain", epoch=2, metrics={"AP": 12.34}),
    )
    world.services.jobs.finish(claim, Reason.COMPLETED, result={})
    console = Console(file=io.StringIO(), width=120)

    with Client(url) as client:
        ended = follow(client, job.id, console, "students")

    assert ended.state == "succeeded"
    said = console.file.getvalue()
    assert "training the plain twin" in said
    assert "plain, epoch 2: AP 12.3" in said


def test_a_job_that_was_long_running_before_it_is_followed_is_told_to_its_end(world, url):
    job, claim = world.running()
    at = "2026-01-02T03:04:05+00:00"
    many = [ProgressLine(type="train", at=at, iteration=n) for n in range(1001)]
    world.beat(claim, *many, ProgressLine(type="stage", at=at, message="the last stage"))
    world.services.jobs.finish(claim, Reason.COMPLETED, result={})
    console = Console(file=io.StringIO(), width=120)

    with Client(url) as client:
        follow(client, job.id, console, "students")

    assert "the last stage" in console.file.getvalue()


def test_a_waiting_job_says_its_place_its_start_and_why(world):
    world.worker("gpu-1", gpus=2)
    view = JobView.of(world.services.jobs.get(world.submitted()))
    start = datetime.now().astimezone().replace(hour=20, minute=15)
    waiting = {"queue_position": 3, "waits_message": "no worker has 2 GPUs free"}

    assert waits(view) == ""
    assert waits(view.model_copy(update=waiting)) == "place 3, no worker has 2 GPUs free"
    assert (
        waits(view.model_copy(update=waiting | {"starts_at": start.astimezone(UTC)}))
        == "place 3, about 20:15, no worker has 2 GPUs free"
    )


def test_a_time_of_another_day_has_its_date():
    at = datetime(2001, 2, 3, 12, 30, tzinfo=UTC)

    assert clock(at) == f"{at.astimezone():%m-%d %H:%M}"


def test_following_a_job_that_waits_says_why_once(world, url):
    job_id = world.submitted()
    console = Console(file=io.StringIO(), width=120)
    looks = 0

    with Client(url) as client:
        look = client.job

        def cancelled_at_last(wanted):
            nonlocal looks
            looks += 1
            if looks == 4:
                client.cancel(job_id)
            return look(wanted)

        client.job = cancelled_at_last
        client.watch = partial(client.watch, interval_s=0)
        follow(client, job_id, console, "students")

    said = console.file.getvalue()
    assert said.count("students: place 1, no worker serves pool 'default'; start one") == 1


@pytest.mark.parametrize("plan", PLANS.values(), ids=PLANS.keys())
def test_the_demos_jobs_are_valid_specs(plan):
    teacher = job_spec_adapter.validate_python(plan.teacher_job("d", 3))
    student = job_spec_adapter.validate_python(plan.distill_job("d", "t", 3))

    assert (teacher.training.seed, student.training.seed) == (3, 3)
    assert student.twins == ("plain", "head_only")


def test_the_demo_names_the_data_sets_it_has(tmp_path):
    with pytest.raises(DemoFailed, match="digits, trees"):
        run_demo("cats", 0, tmp_path, Console(file=io.StringIO()))


def test_a_job_s_name_is_never_read_as_markup(world):
    world.submitted(world.train_spec(name="run [/data/x] [red]lr"))
    job = JobView.model_validate(world.http.get("/v1/jobs").json()["items"][0])

    assert "run [/data/x] [red]lr" in text_of(jobs_table([job]))
