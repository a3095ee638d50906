"""What an export is given: the detector that it names, and how its pictures came in."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from datetime import timedelta

import pytest

from pgd_core.errors import TeacherUnusable
from pgd_core.jobs.job import Artifact, Reason
from pgd_core.jobs.machine import Offer, Placement
from pgd_core.jobs.run import RunSpec
from pgd_core.jobs.spec import (
    BackboneSpec,
    DetectorSpec,
    DistillJob,
    ExportJob,
    InputSpec,
    TrainJob,
)
from worker.attempt import prepare

MODEL = DetectorSpec(detector="gfl", backbone=BackboneSpec(name="resnet18"))
SMALL = InputSpec(long_side=96, short_side=64)
MINUTE = timedelta(minutes=1)


def finished(world, spec, weights):
    """A job that succeeded with these weights as its output."""
    job = world.jobs.submit(spec, Placement())
    _, claim = world.jobs.claim(Offer("worker-1", "default"), MINUTE)
    world.jobs.started(claim)
    source = world.folder / weights
    source.write_bytes(weights.encode())
    key = f"jobs/{job.id}/1/{weights}"
    size, sha256 = world.files.put(key, source)
    made = Artifact(job.id, 1, weights, size, sha256, key, "application/octet-stream")
    return world.jobs.finish(claim, Reason.COMPLETED, artifacts=[made])


def teacher_job(world):
    spec = TrainJob(kind="train", dataset=world.dataset, model=MODEL, input=SMALL)
    return finished(world, spec, "detector.safetensors")


def registered(world, job):
    artifact = world.jobs.artifact(job.id, "detector.safetensors")
    return world.library.add_teacher(
        "t", MODEL, ("0", "1"), source_job=job.id, key=artifact.key, sha256=artifact.sha256
    )


def run_of(world, **fields):
    """The RunSpec that the trainer of such an export is given."""
    spec = ExportJob(kind="export", dataset=world.dataset, **fields)
    job = replace(world.jobs.submit(spec, Placement()), attempt=1)
    folder = prepare(
        job,
        world.attempts,
        world.jobs,
        world.library,
        world.files,
        device="cpu",
        weights_folder=None,
    )
    return RunSpec.model_validate_json((folder / "run.json").read_bytes())


def test_a_job_s_student_is_exported_with_the_job_s_input(world):
    teacher = registered(world, teacher_job(world))
    spec = DistillJob(
        kind="distill",
        dataset=world.dataset,
        teacher=teacher.id,
        student=BackboneSpec(name="mobilenet_v2"),
        input=SMALL,
    )
    job = finished(world, spec, "student.safetensors")

    run = run_of(world, job=job.id)

    assert run.teacher.weights.read_bytes() == b"student.safetensors"
    assert run.teacher.sha256 == hashlib.sha256(b"student.safetensors").hexdigest()
    assert (run.teacher.model.detector, run.teacher.model.backbone.name) == ("gfl", "mobilenet_v2")
    assert run.teacher.classes == ("0", "1")
    assert run.input == SMALL


def test_a_student_outlives_the_data_set_and_the_teacher_that_it_was_made_from(world):
    teacher = registered(world, teacher_job(world))
    first, student = world.dataset, BackboneSpec(name="mobilenet_v2")
    spec = DistillJob(kind="distill", dataset=first, teacher=teacher.id, student=student)
    job = finished(world, spec, "student.safetensors")
    world.library.delete_dataset(first)
    world.library.delete_teacher(teacher.id)
    world.dataset = world.add_dataset()

    run = run_of(world, job=job.id)

    assert run.teacher.classes == ("0", "1")
    assert (run.teacher.model.detector, run.teacher.model.backbone.name) == ("gfl", "mobilenet_v2")


def test_a_registered_detector_is_exported_with_the_input_of_the_job_that_made_it(world):
    run = run_of(world, teacher=registered(world, teacher_job(world)).id)
    assert run.teacher.weights.read_bytes() == b"detector.safetensors"
    assert run.input == SMALL


def test_an_input_that_is_given_wins(world):
    given = InputSpec(long_side=320, short_side=320)
    run = run_of(world, job=teacher_job(world).id, input=given)
    assert run.input == given


def test_a_detector_from_outside_has_the_usual_input(world):
    made = world.jobs.artifact(teacher_job(world).id, "detector.safetensors")
    teacher = world.library.add_teacher("t", MODEL, ("0", "1"), key=made.key, sha256=made.sha256)
    assert run_of(world, teacher=teacher.id).input == InputSpec()


def test_a_job_that_has_not_succeeded_or_is_none_has_no_detector(world):
    waiting = world.submit("succeed")
    with pytest.raises(TeacherUnusable, match="exists once it has succeeded"):
        run_of(world, job=waiting.id)
    with pytest.raises(TeacherUnusable, match="nowhere"):
        run_of(world, job="nowhere")
