"""What succeeded before there were models is registered by the migration, as it would be today."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from alembic import command
from alembic.script import ScriptDirectory

from pgd_core.jobs.job import Artifact, Reason
from pgd_core.jobs.machine import Offer
from pgd_core.jobs.spec import BackboneSpec, DetectorSpec, DistillJob, ExportJob, TrainJob
from pgd_core.store import SqlJobStore, SqlLibraryStore, SqlModelStore, migrate
from pgd_core.store.engine import writing
from pgd_core.store.migrate import alembic_config

LEASE = timedelta(minutes=1)
DETECTOR = DetectorSpec(
    detector="gfl", backbone=BackboneSpec(name="timm/mobilenetv3_small_100"), head_width=64
)
RESULT = {
    "teacher": {"metrics": {"AP": 40.0}},
    "distilled": {"metrics": {"AP": 35.5}, "cost": {"parameters": 5}},
    "detector": {"metrics": {"AP": 30.0}},
    "gain": {"over_plain": 2.5},
}


def run(engine, spec, *names, reason=Reason.COMPLETED):
    jobs = SqlJobStore(engine)
    jobs.submit(spec)
    job, claim = jobs.claim(Offer("w", "default"), LEASE)
    jobs.started(claim)
    files = [Artifact(job.id, 1, name, 9, "ab" * 32, f"k/{name}", "x") for name in names]
    return jobs.finish(claim, reason, result=RESULT, artifacts=files)


def forget_models(engine):
    """As if the database had never known models."""
    config = alembic_config()
    before = ScriptDirectory.from_config(config).get_revision("0008").down_revision
    with writing(engine) as session:
        config.attributes["connection"] = session.connection()
        command.downgrade(config, before)


def test_jobs_of_before_have_the_models_that_they_would_have_today(engine, url):
    library = SqlLibraryStore(engine)
    dataset = library.add_dataset("digits", "/a", "/b", "/c", "/d").id
    library.dataset_checked(dataset, usable=True, report={}, sha256="cd" * 32, classes=("0", "1"))
    teacher = library.add_teacher("big", DETECTOR, ("0", "1"), key="k", sha256="ef" * 32).id
    train = TrainJob(kind="train", name="t", dataset=dataset, model=DETECTOR)
    nameless = train.model_copy(update={"name": ""})
    student = BackboneSpec(name="mobilenet_v2", width=0.5)
    distill = DistillJob(kind="distill", dataset=dataset, teacher=teacher, student=student)
    for spec in (train, train, nameless):
        made = run(engine, spec, "detector.safetensors")
    run(engine, distill, "student.safetensors", "student.pth")
    run(engine, distill, "student.pth")
    run(engine, distill, "student.safetensors", reason=Reason.DIVERGED)
    export = ExportJob(kind="export", dataset=dataset, job=made.id)
    for _ in range(2):
        run(engine, export, "student-nms.onnx")
    models = SqlModelStore(engine)
    today = models.models()
    assert [m.title for m in today] == [
        "gfl-mobilenet_v2 v1",
        "gfl-mobilenetv3_small_100 v1",
        "t v2",
        "t v1",
    ]

    forget_models(engine)
    migrate(url)

    again = models.models()
    assert [without_times(m) for m in again] == [without_times(m) for m in today]
    assert again[1].export_job is not None
    jobs = SqlJobStore(engine)
    assert [m.created_at for m in again] == [jobs.get(m.job_id).finished_at for m in again]


def without_times(model):
    lineage = {key: value for key, value in model.lineage.items() if key != "versions"}
    return replace(model, id="", created_at=None, lineage=lineage)


def test_a_job_of_before_with_an_odd_result_does_not_stop_the_migration(engine, url):
    spec = TrainJob(kind="train", name="t", dataset="gone", model=DETECTOR)
    jobs = SqlJobStore(engine)
    jobs.submit(spec)
    job, claim = jobs.claim(Offer("w", "default"), LEASE)
    jobs.started(claim)
    weights = Artifact(job.id, 1, "detector.safetensors", 9, "ab" * 32, "k", "x")
    jobs.finish(claim, Reason.COMPLETED, result={"gain": 3, "detector": [1]}, artifacts=[weights])
    today = SqlModelStore(engine).models()

    forget_models(engine)
    migrate(url)

    again = SqlModelStore(engine).models()
    assert [without_times(m) for m in again] == [without_times(m) for m in today]
