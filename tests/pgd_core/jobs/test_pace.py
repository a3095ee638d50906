"""Work by hand, and what is made of it."""

from __future__ import annotations

import pytest

from pgd_core.jobs.data_facts import DataFacts
from pgd_core.jobs.pace import expected_s, work_of
from pgd_core.jobs.spec import DistillJob, EvaluateJob, ExportJob, StudyJob, TrainJob

FACTS = DataFacts(train_images=120, with_objects=100, val_images=10)
INPUT = {"long_side": 32, "short_side": 32}
PIXELS = 32 * 32
TRAINING = {"epochs": 4, "batch_size": 10}
MODEL = {"detector": "fcos", "backbone": {"name": "resnet18"}}


def distill(**fields) -> DistillJob:
    fields = {"input": INPUT, "training": TRAINING, **fields}
    student = {"name": "resnet18"}
    return DistillJob(kind="distill", dataset="d", teacher="t", student=student, **fields)


def test_a_training_picture_counts_three_and_one_of_a_validation_one():
    train = TrainJob(kind="train", dataset="d", model=MODEL, input=INPUT, training=TRAINING)

    assert work_of(train, FACTS) == (3 * 400 + 4 * 10) * PIXELS


def test_a_teacher_looks_too_and_twins_are_trained_as_well():
    twin = 3 * 400 + 4 * 10

    assert work_of(distill(), FACTS) == (twin + 400 + 10) * PIXELS
    assert work_of(distill(measure_teacher=False), FACTS) == (twin + 400) * PIXELS
    assert work_of(distill(twins=["plain"]), FACTS) == (2 * twin + 400 + 10) * PIXELS
    assert work_of(distill(method={"name": "none"}), FACTS) == (twin + 10) * PIXELS


def test_a_run_is_validated_by_its_interval_and_at_its_end():
    def looked_at(**training):
        job = distill(training=TRAINING | training, measure_teacher=False)
        return (work_of(job, FACTS) / PIXELS - 4 * 400) / 10

    assert looked_at(validation_interval=2) == 2
    assert looked_at(validation_interval=3) == 2
    assert looked_at(validation_interval=100) == 1
    assert looked_at(epochs=None, iterations=40) == 4


def test_measuring_counts_the_validation_pictures_and_other_kinds_are_not_known():
    evaluate = EvaluateJob(kind="evaluate", dataset="d", teacher="t", input=INPUT)
    study = StudyJob(kind="study", dataset="d", teachers={"a": "t"}, student={"name": "resnet18"})

    assert work_of(evaluate, FACTS) == 10 * PIXELS
    assert work_of(ExportJob(kind="export", dataset="d", teacher="t"), FACTS) is None
    assert work_of(study, FACTS) is None
    assert work_of(distill(), DataFacts()) is None
    assert work_of(evaluate, DataFacts()) is None


@pytest.mark.parametrize("gpus", [1, 4])
def test_the_median_pace_of_earlier_jobs_is_taken_and_shared_by_the_gpus(gpus):
    earlier = [(10.0, 100.0), (20.0, 100.0), (900.0, 100.0), (0.0, 100.0), (5.0, 0.0)]

    assert expected_s(50.0, earlier, gpus) == pytest.approx(0.2 * 50 / gpus)
    assert expected_s(50.0, [(0.0, 1.0)], gpus) is None
