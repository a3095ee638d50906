"""The main job through the real service: API, Redis, worker, trainer, over HTTP alone."""

from __future__ import annotations

import hashlib
import json
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
from rich.console import Console
from safetensors.torch import load_file

from api.client import ApiError, Client
from api.demo import key_in, service
from api.schemas import JobView, TeacherView
from pgd_core.datasets.digits import write_digit_scenes

MODEL = {
    "detector": "fcos",
    "backbone": {"name": "resnet18"},
    "head_width": 16,
    "head_convs": 1,
    "norm_groups": 4,
}
INPUT = {"long_side": 64, "short_side": 64}
TRAINING = {"epochs": 1, "batch_size": 4, "warmup_iterations": 1, "workers": 0}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("e2e")


@pytest.fixture(scope="module")
def url(folder: Path) -> Iterator[str]:
    write_digit_scenes(folder / "data", images=12, val_images=4, size=64, seed=1)
    with pytest.MonkeyPatch.context() as patch, (folder / "console").open("w") as file:
        patch.setenv("PGD_HEARTBEAT_S", "0.25")  # or a job is over before a test hears of it
        with service(folder, Console(file=file)) as url:
            yield url


@pytest.fixture(scope="module")
def teacher_job(client: Client, dataset: str) -> JobView:
    return ended(client, client.submit(train_spec(dataset)))


@pytest.fixture(scope="module")
def teacher(client: Client, teacher_job: JobView) -> str:
    return client.add_teacher_from_job("teacher", teacher_job.id).id


def train_spec(dataset: str, **training: Any) -> dict[str, Any]:
    return {
        "kind": "train",
        "dataset": dataset,
        "model": MODEL,
        "input": INPUT,
        "training": {**TRAINING, **training},
    }


def distill_spec(dataset: str, teacher: str) -> dict[str, Any]:
    return {
        "kind": "distill",
        "dataset": dataset,
        "teacher": teacher,
        "student": {"name": "mobilenet_v2", "width": 0.25},
        "twins": ["plain", "head_only"],
        "input": INPUT,
        "training": TRAINING,
    }


def ended(client: Client, job: JobView) -> JobView:
    return list(client.watch(job.id, interval_s=0.2))[-1]


def until(true: Callable[[], object], seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def checked(client: Client, teacher: TeacherView) -> TeacherView:
    until(lambda: client.teacher(teacher.id).state != "checking")
    return client.teacher(teacher.id)


def test_a_student_is_distilled_compared_and_downloaded(
    client: Client, dataset: str, teacher_job: JobView, teacher: str, folder: Path
) -> None:
    assert teacher_job.state == "succeeded", teacher_job.message
    job = ended(client, client.submit(distill_spec(dataset, teacher)))
    assert job.state == "succeeded", job.message
    assert list(job.result) == ["teacher", "distilled", "plain", "head_only", "gain"]
    assert job.done == 1
    series = client.metrics(job.id, type="train").items
    assert {line.variant for line in series} == {"distilled", "plain", "head_only"}
    kinds = [event.kind for event in client.events(job.id).items]
    assert kinds[:1] == ["submitted"]
    assert kinds[-1] == "succeeded"
    assert "distilled: training" in client.logs(job.id)
    students = folder / "students"
    students.mkdir()
    for artifact in client.artifacts(job.id):
        path = client.download(job.id, artifact.name, students)
        assert hashlib.sha256(path.read_bytes()).hexdigest() == artifact.sha256
    manifest = json.loads((students / "manifest.json").read_bytes())
    assert manifest["dataset"]["sha256"] == client.dataset(dataset).sha256
    assert manifest["teacher"]["sha256"] == client.teacher(teacher).sha256
    assert load_file(students / "student.safetensors")


def test_an_uploaded_checkpoint_becomes_a_teacher_that_is_evaluated(
    client: Client, dataset: str, teacher_job: JobView, tmp_path: Path
) -> None:
    path = client.download(teacher_job.id, "detector.pth", tmp_path)
    classes = list(client.dataset(dataset).classes)
    upload = client.upload(path)
    teacher = client.add_teacher_from_upload("mine", upload.id, MODEL, classes)
    assert checked(client, teacher).state == "ready", checked(client, teacher).message
    spec = {
        "kind": "evaluate",
        "dataset": dataset,
        "teacher": teacher.id,
        "input": INPUT,
        "workers": 0,
    }
    job = ended(client, client.submit(spec))
    assert job.state == "succeeded", job.message
    ours, theirs = job.result["detector"]["metrics"], teacher_job.result["detector"]["metrics"]
    assert ours["AP"] == pytest.approx(theirs["AP"], abs=0.01)


class _Hostile:
    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.marker,))


@pytest.mark.parametrize("fault", ["truncated", "hostile", "classes", "width"])
def test_a_bad_teacher_is_rejected_by_name_and_no_job_takes_it(
    fault: str, client: Client, dataset: str, teacher_job: JobView, tmp_path: Path
) -> None:
    path = client.download(teacher_job.id, "detector.pth", tmp_path)
    classes, model = list(client.dataset(dataset).classes), MODEL
    if fault == "truncated":
        path.write_bytes(path.read_bytes()[:5000])
    elif fault == "hostile":
        torch.save({"state_dict": {"a": _Hostile(tmp_path / "executed")}}, path)
    elif fault == "classes":
        classes = classes[:4]
    else:
        model = {**MODEL, "head_width": 32}
    upload = client.upload(path)
    teacher = checked(client, client.add_teacher_from_upload("bad", upload.id, model, classes))
    assert teacher.state == "rejected"
    assert teacher.message
    assert not (tmp_path / "executed").exists()
    with pytest.raises(ApiError) as refused:
        client.submit(distill_spec(dataset, teacher.id))
    assert refused.value.status in (409, 422)


def test_a_data_set_with_faults_is_rejected_with_a_report(client: Client, folder: Path) -> None:
    broken = folder / "broken"
    write_digit_scenes(broken, images=4, val_images=2, size=64, seed=2)
    content = json.loads((broken / "train.json").read_bytes())
    content["annotations"][0]["image_id"] = 999
    (broken / "train.json").write_text(json.dumps(content))
    next((broken / "val").iterdir()).unlink()
    found = client.wait_for_dataset(client.add_dataset("broken", broken).id)
    assert found.state == "rejected"
    text = json.dumps(found.report["errors"])
    assert "999" in text
    assert "val:" in text
    with pytest.raises(ApiError) as refused:
        client.submit(train_spec(found.id))
    assert refused.value.status == 409


@pytest.mark.parametrize("where", ["/etc", "{folder}/../..", "{folder}/link"])
def test_a_folder_outside_the_allowed_roots_is_refused(
    where: str, client: Client, folder: Path
) -> None:
    if not (folder / "link").exists():
        (folder / "link").symlink_to("/etc")
    with pytest.raises(ApiError) as refused:
        client.add_dataset("outside", where.format(folder=folder))
    assert refused.value.status == 403


def test_a_running_job_is_cancelled_and_nothing_of_it_is_left(client: Client, dataset: str) -> None:
    job = client.submit(train_spec(dataset, epochs=500))
    until(lambda: client.metrics(job.id, type="train").items)
    client.cancel(job.id)
    job = ended(client, job)
    assert (job.state, job.reason) == ("cancelled", "cancelled_by_user")
    assert not trainers(job.id)


def test_a_killed_trainer_is_tried_again_from_its_checkpoint(client: Client, dataset: str) -> None:
    job = client.submit(train_spec(dataset, epochs=12))
    until(lambda: client.metrics(job.id, type="validation").items)
    for process in trainers(job.id):
        process.kill()
    job = ended(client, job)
    assert (job.state, job.attempt) == ("succeeded", 2), job.message
    stages = [line.message for line in client.metrics(job.id, type="stage").items]
    resumed = [m for m in stages if m.startswith("training, from step")]
    assert len(resumed) == 2
    assert not resumed[1].startswith("training, from step 0 ")


def test_a_diverging_job_fails_with_its_reason_and_the_worker_goes_on(
    client: Client, dataset: str
) -> None:
    explosive = {"learning_rate": 10.0, "weight_decay": 1.0, "clip_grad_norm": None}
    explosive |= {"learning_rate_batch": None, "epochs": 30, "validation_interval": 30}
    spec = train_spec(dataset, **explosive)
    job = ended(client, client.submit(spec))
    assert (job.state, job.reason, job.attempt) == ("failed", "diverged", 1)
    assert "learning_rate" in job.message
    assert ended(client, client.submit(train_spec(dataset))).state == "succeeded"


def test_curl_alone_submits_and_looks(
    client: Client, url: str, dataset: str, folder: Path, tmp_path: Path
) -> None:
    key = ("-H", f"Authorization: Bearer {key_in(folder)}")
    body, jobs = tmp_path / "spec.json", f"{url}/v1/jobs"
    body.write_text(json.dumps(train_spec(dataset)))
    post = (*key, "-X", "POST", "-H", "Content-Type: application/json", "-d")
    sent = _curl(*post, f"@{body}", jobs)
    assert _curl(*key, f"{jobs}/{sent['id']}")["id"] == sent["id"]
    refused = _curl(*post, "{}", jobs)
    assert refused["status"] == 422
    assert ended(client, client.job(sent["id"])).state == "succeeded"


def _curl(*arguments: str) -> dict[str, Any]:
    command = ["curl", "--silent", "--noproxy", "*", *arguments]
    done = subprocess.run(command, check=True, capture_output=True)
    content: dict[str, Any] = json.loads(done.stdout)
    return content


def trainers(job_id: str) -> list[psutil.Process]:
    """Processes of the job's trainer, its loaders included."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get("PGD_TRAINER", "").startswith(job_id):
                found.append(process)
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    return found


@pytest.mark.slow
def test_a_study_compares_methods_in_one_table(
    client: Client, dataset: str, teacher: str, folder: Path
) -> None:
    spec = {
        "kind": "study",
        "name": "which?",
        "dataset": dataset,
        "teachers": {"fcos": teacher, "mine": {"model": MODEL}},
        "student": {"name": "mobilenet_v2", "width": 0.25},
        "references": ["head_only"],
        "matrices": [
            {"teachers": ["fcos"], "axes": [{"field": "method", "values": ["frs", "ld"]}]},
            {"teachers": ["mine"]},
        ],
        "input": INPUT,
        "training": TRAINING,
    }
    study = ended(client, client.submit(spec))
    assert study.state == "succeeded", study.message
    rows = {(row["teacher"], row["setting"]): row for row in study.result["rows"]}
    assert {key: row["runs"][0]["state"] for key, row in rows.items()} == {
        ("fcos", "head-only student"): "succeeded",
        ("fcos", "FRS"): "succeeded",
        ("fcos", "LD"): "not served",
        ("mine", "head-only student"): "succeeded",
        ("mine", "PGD"): "succeeded",
    }
    assert study.result["teachers"]["mine"]["state"] == "succeeded"
    for name in ("study.md", "study.csv", "study.json", "study.png"):
        client.download(study.id, name, folder)
    again = ended(client, client.submit(spec))
    assert again.result["rows"] == study.result["rows"]
    kinds = {event.kind for event in client.events(again.id).items}
    assert "child_reused" in kinds
    assert "child_submitted" not in kinds


def test_a_teacher_is_analysed(client: Client, dataset: str, teacher: str) -> None:
    spec = {"kind": "analyse", "dataset": dataset, "teacher": teacher, "input": INPUT, "workers": 0}
    job = ended(client, client.submit(spec))
    assert job.state == "succeeded", job.message
    media_types = {a.name: a.media_type for a in client.artifacts(job.id)}
    assert media_types["quality_heat.png"] == "image/png"
    assert media_types["hide_curve.csv"] == "text/csv"
