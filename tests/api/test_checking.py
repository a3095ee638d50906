"""`validate_only`: estimates, the place in the queue, and warnings."""

from __future__ import annotations

import subprocess
import sys
from datetime import datetime, timedelta

import pytest
from sqlalchemy import update

from pgd_core.jobs.job import Reason
from pgd_core.store.engine import writing
from pgd_core.store.tables import JobRow
from tests.api.answers import problem_of
from tests.api.conftest import CLASSES, MODEL

REPORT = {
    "train": {
        "images": 400,
        "images_without_objects": 0,
        "objects_per_class": {"cat": 900, "dog": 800},
        "box_sides": {"edges": [0, 8, 16, 64], "counts": [0, 0, 900, 800]},
        "median_long_side": 1333,
        "median_short_side": 800,
    },
    "val": {"images": 80},
    "shared_pictures": 0,
}


@pytest.fixture
def dataset(world):
    """The id of a data set that is fit to train on."""
    library = world.services.library
    added = library.add_dataset("fit", "/d/a.json", "/d/a", "/d/b.json", "/d/b")
    library.dataset_checked(added.id, usable=True, report=REPORT, sha256="0" * 64, classes=CLASSES)
    return added.id


def train(dataset, **fields):
    training = {"epochs": 30, "batch_size": 8}
    return {"kind": "train", "dataset": dataset, "model": MODEL, "training": training, **fields}


def check(world, spec, **query):
    world.forget()
    answer = world.http.post("/v1/jobs", json=spec, params={"validate_only": True, **query})
    assert answer.status_code == 200, answer.text
    return answer.json()


def codes(answer):
    return [one["code"] for one in answer["warnings"]]


def ended(world, spec, gpu_s, **query):
    """A job that succeeded after so much GPU time."""
    job, claim = world.running(spec, **query)
    world.services.jobs.finish(claim, Reason.COMPLETED)
    with writing(world.services.jobs._engine) as session:
        session.execute(update(JobRow).where(JobRow.id == job.id).values(gpu_s=gpu_s))
    return job.id


def test_a_sound_job_is_checked_without_a_warning_and_without_being_queued(world, dataset):
    world.worker()
    answer = check(world, train(dataset))

    assert answer["valid"]
    assert answer["spec"]["training"]["optimizer"] == "sgd"
    assert answer["warnings"] == []
    assert 1_000 < answer["memory_mb"] < 20_000
    assert (answer["expected_s"], answer["expected_end"]) == (None, None)
    assert answer["expected_because"] == "no job of kind train has ended in pool 'default' yet"
    assert answer["waits_message"] == "a worker is about to take it"
    assert world.http.get("/v1/jobs").json()["items"] == []


def test_the_time_comes_from_earlier_jobs_like_it_and_grows_with_the_work(world, dataset):
    world.worker()
    ended(world, train(dataset), 600.0)
    ended(world, train(dataset, model={**MODEL, "detector": "gfl"}), 9_000.0)

    same = check(world, train(dataset))
    longer = check(world, train(dataset, training={"epochs": 60, "batch_size": 8}))

    assert same["expected_s"] == pytest.approx(600.0)
    assert longer["expected_s"] == pytest.approx(1200.0)
    because = "the pace of the last job of kind train, fcos on resnet18, in pool 'default'"
    assert same["expected_because"] == because
    starts, ends = (datetime.fromisoformat(same[name]) for name in ("starts_at", "expected_end"))
    assert ends - starts == timedelta(seconds=same["expected_s"])


def test_without_one_like_it_the_time_is_that_of_its_kind(world, dataset):
    world.worker()
    ended(world, train(dataset), 600.0)
    other = train(dataset, model={**MODEL, "detector": "gfl"})

    answer = check(world, other)

    assert answer["expected_s"] == pytest.approx(600.0)
    assert "on average" in answer["expected_because"]


def test_another_teams_jobs_tell_no_pace(world, dataset):
    world.worker()
    world.team("b")
    ended(world, world.train_spec("b", training={"epochs": 1}), 1_000.0, team="b")

    assert "on average" in check(world, train(dataset))["expected_because"]


def test_the_wait_for_jobs_before_it_is_part_of_the_end(world, dataset):
    worker = world.worker(gpus=1)
    ended(world, train(dataset), 600.0)
    world.submitted(train(dataset))
    world.claimed(worker, 0)
    world.submitted(train(dataset))
    world.submitted(train(dataset), priority="low")

    last, first = check(world, train(dataset)), check(world, train(dataset), priority="high")

    wait_s = (
        datetime.fromisoformat(last["starts_at"]) - datetime.fromisoformat(first["starts_at"])
    ).total_seconds()
    assert wait_s == pytest.approx(600.0, abs=5)
    assert last["waits_message"] == "no worker of pool 'default' has 1 GPU free"
    assert len(world.http.get("/v1/jobs?state=queued").json()["items"]) == 2


def test_warnings_name_the_field_or_the_parameter(world, dataset):
    world.worker(gpus=1)
    spec = train(dataset, training={"epochs": 1, "batch_size": 1000, "learning_rate": 9})

    answer = check(world, spec, gpus=2, min_memory_mb=10)

    found = {one["code"]: one["pointer"] or one["parameter"] for one in answer["warnings"]}
    assert found == {
        "learning_rate_far_from_usual": "/training/learning_rate",
        "short_training": "/training/epochs",
        "larger_than_any_worker": "gpus",
        "batch_too_large_for_pool": "/training/batch_size",
    }


def test_the_same_warnings_come_with_the_real_submit(world, dataset):
    spec = train(dataset, training={"epochs": 1, "batch_size": 8})

    expected = check(world, spec)["warnings"]

    assert [one["code"] for one in expected] == ["short_training", "no_worker_in_pool"]
    assert world.http.post("/v1/jobs", json=spec).json()["warnings"] == expected


def test_a_quota_that_is_used_up_is_a_warning_of_the_check_and_a_refusal_of_the_submit(world):
    world.worker()
    team = world.team("b", max_queued_jobs=1)
    spec = world.train_spec(team)
    world.submitted(spec, team=team)

    answer = check(world, spec, team=team)

    assert codes(answer)[-1] == "quota_would_refuse"
    refused = world.http.post("/v1/jobs", json=spec, params={"team": team})
    problem_of(refused, 409, "quota_exceeded")


@pytest.mark.parametrize("validate_only", [True, False])
def test_a_batch_that_the_gpus_cannot_share_is_refused_as_it_can_never_run(
    world, dataset, validate_only
):
    query = {"gpus": 3, "validate_only": validate_only}

    answer = world.http.post("/v1/jobs", json=train(dataset), params=query)

    problem = problem_of(answer, 422, "invalid_spec")
    assert problem["errors"][0]["pointer"] == "/training/batch_size"
    assert "make it a multiple of 3" in problem["detail"]


@pytest.mark.parametrize("kind", ["distill", "evaluate", "analyse", "export", "study"])
def test_every_kind_is_checked(world, dataset, kind):
    teacher = world.teacher()
    student = {"name": "mobilenet_v2"}
    rest = {
        "distill": {"teacher": teacher, "student": student},
        "study": {"teachers": {"big": teacher}, "student": student},
    }.get(kind, {"teacher": teacher})

    answer = check(world, {"kind": kind, "dataset": dataset, **rest})

    assert answer["valid"]
    assert (answer["memory_mb"] is None) is (kind == "export")
    assert "no_worker_in_pool" in codes(answer)


def test_an_old_report_without_counts_stands_in_nobodys_way(world):
    answer = check(world, world.train_spec())

    assert codes(answer) == ["no_worker_in_pool"]


def test_everything_that_is_wrong_is_told_at_once(world, dataset):
    wrong = {"teacher": world.teacher(classes=("cow",)), "name": "a\nb"}
    spec = world.distill_spec() | {"dataset": dataset, **wrong}

    answer = world.http.post("/v1/jobs", json=spec, params={"gpus": 3, "validate_only": True})

    problem = problem_of(answer, 422, "invalid_spec")
    pointers = [item["pointer"] for item in problem["errors"]]
    assert pointers == ["/name", "/training/batch_size", "/teacher"]
    assert all(item["detail"] in problem["detail"] for item in problem["errors"])


def test_what_is_wrong_goes_before_what_is_not_ready(world):
    spec = world.train_spec() | {"dataset": world.dataset(ready=False)}

    not_ready = world.http.post("/v1/jobs", json=spec)
    wrong_too = world.http.post("/v1/jobs", json=spec, params={"gpus": 3})

    problem_of(not_ready, 409, "not_ready")
    assert problem_of(wrong_too, 422, "invalid_spec")["errors"][0]["pointer"].startswith("/tr")


def test_no_data_set_and_no_teacher_are_both_told(world):
    spec = world.distill_spec() | {"dataset": "none", "teacher": "none"}

    problem = problem_of(world.http.post("/v1/jobs", json=spec), 422, "invalid_spec")

    assert [item["pointer"] for item in problem["errors"]] == ["/dataset", "/teacher"]


def test_the_check_works_where_no_torch_is(world, dataset):
    """The world's database behind an application of a process that cannot import torch."""
    spec = {"kind": "distill", "dataset": dataset, "teacher": world.teacher()}
    spec["student"] = {"name": "mobilenet_v2", "width": 0.5}
    code = f"""
import sys
for name in ("torch", "numpy", "mmdet", "mmcv", "mmengine"):
    sys.modules[name] = None
from pathlib import Path
from api.main import create_app
from api.checking import checked
from pgd_core.jobs.machine import Placement
from pgd_core.jobs.spec import job_spec_adapter
from pgd_core.settings import Settings
app = create_app(Settings(data_folder=Path({str(world.settings.data_folder)!r})))
found = checked(app.state.services, job_spec_adapter.validate_python({spec!r}), Placement())
print(found.memory_mb, len(found.warnings))
"""

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    memory_mb, warnings = map(int, done.stdout.split())
    assert memory_mb > 1_000
    assert warnings >= 1
