"""Each warning where it is due, with its value and a way out; and none where it is not."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pgd_core.jobs.advice import Asked, training_advice
from pgd_core.jobs.data_advice import data_advice
from pgd_core.jobs.data_facts import DataFacts
from pgd_core.jobs.machine import Device, Needs, Placement
from pgd_core.jobs.placement_advice import Surroundings, placement_advice
from pgd_core.jobs.spec import (
    BackboneSpec,
    DetectorSpec,
    DistillJob,
    EvaluateJob,
    StudyJob,
    TrainJob,
)
from pgd_core.jobs.teams import Team

GOOD = DataFacts(
    train_images=5000,
    with_objects=4800,
    val_images=500,
    objects={"cat": 4000, "dog": 3000},
    long_side=1280,
    short_side=800,
    box_edges=(0, 4, 8, 16, 32, 64),
    box_counts=(0, 0, 0, 10, 80, 10),
)
TEACHER = DetectorSpec(detector="fcos", backbone=BackboneSpec(name="resnet50"))
NOW = None


def distill(**fields) -> DistillJob:
    fields = {"student": {"name": "resnet18"}, **fields}
    return DistillJob(kind="distill", dataset="d", teacher="t", **fields)


def asked(spec=None, facts=GOOD, teacher=TEACHER, **placement) -> Asked:
    needs = Needs(placement.pop("gpus", 1), placement.pop("min_memory_mb", 0))
    place = Placement(needs=needs, **placement)
    return Asked(spec or distill(), place, len(facts.objects), facts, (teacher,))


def gpu(memory_mb: int, count: int = 2, uuid: str = "GPU") -> tuple[Device, ...]:
    """What a worker has."""
    return tuple(Device(n, "X", uuid and f"{uuid}-{n}", memory_mb) for n in range(count))


def around(*machines: tuple[Device, ...], waiting=0, running=0, **limits) -> Surroundings:
    none = {"max_running_gpus": None, "max_queued_jobs": None}
    team = Team("default", 1.0, used_gpu_s=0, used_at=NOW, created_at=NOW, **(none | limits))
    return Surroundings(machines, team, waiting, running)


def codes(found) -> list[str]:
    return [one.code for one in found]


def test_a_sound_job_has_no_warnings():
    job = asked()

    assert codes(training_advice(job)) == []
    assert codes(data_advice(job)) == []
    assert codes(placement_advice(job, around(gpu(80_000)), 10_000)) == []


@pytest.mark.parametrize(
    ("fields", "code", "pointer", "said"),
    [
        ({"student": {"name": "resnet50"}}, "student_not_smaller", "/student", "smaller backbone"),
        (
            {"student": {"name": "resnet101"}},
            "student_not_smaller",
            "/student",
            "teacher on resnet50",
        ),
        (
            {"student": {"name": "mobilenet_v2", "width": 0.5}},
            "head_wide_for_student",
            "/student",
            "head_width 256",
        ),
        ({"inherit_head": False}, "head_not_inherited", "/inherit_head", "give true"),
        (
            {"training": {"learning_rate": 0.2}},
            "learning_rate_far_from_usual",
            "/training/learning_rate",
            "comes to 0.1 at batch_size 16; usual for sgd is 0.01",
        ),
        (
            {"training": {"optimizer": "adamw"}},
            "learning_rate_far_from_usual",
            "/training/learning_rate",
            "learning_rate 0.0002",
        ),
        (
            {"training": {"learning_rate": 0.001}},
            "learning_rate_far_from_usual",
            "/training/learning_rate",
            "0.0005",
        ),
        ({"training": {"epochs": 1}}, "short_training", "/training/epochs", "come to 300 steps"),
        ({"training": {"iterations": 9}}, "short_training", "/training/iterations", "9 steps"),
    ],
)
def test_a_training_that_will_disappoint_is_told_with_its_value(fields, code, pointer, said):
    (found,) = training_advice(asked(distill(**fields)))

    assert (found.code, found.pointer) == (code, pointer)
    assert said in found.message


@pytest.mark.parametrize(
    "training",
    [
        {"learning_rate": 0.08},  # just four times
        {"learning_rate": 0.005},
        {"learning_rate": 0.01, "learning_rate_batch": None},
        {"learning_rate": 0.32, "learning_rate_batch": 512},
        {"optimizer": "adamw", "learning_rate": 1e-4},
    ],
)
def test_a_rate_within_four_times_the_usual_is_left_alone(training):
    assert codes(training_advice(asked(distill(training=training)))) == []


def test_methods_whose_authors_start_from_scratch_need_no_inherited_head():
    job = distill(method={"name": "frs"}, inherit_head=False)

    assert codes(training_advice(asked(job))) == []


def test_a_train_job_has_no_student_and_a_student_of_timm_is_not_judged():
    train = TrainJob(kind="train", dataset="d", model=TEACHER)

    assert codes(training_advice(asked(train))) == []
    assert codes(training_advice(asked(distill(student={"name": "timm/resnet18"})))) == []


def test_a_study_is_told_each_thing_once_and_its_own_teachers_count():
    model = TEACHER.model_dump(mode="json")
    spec = StudyJob(
        kind="study",
        dataset="d",
        teachers={"a": "t", "b": {"model": model}},
        student={"name": "resnet101"},
        training={"epochs": 1},
    )

    assert codes(training_advice(asked(spec))) == ["short_training", "student_not_smaller"]
    bare = replace(asked(spec), teachers=())
    assert codes(training_advice(bare)) == ["short_training", "student_not_smaller"]


@pytest.mark.parametrize(
    ("change", "code", "said"),
    [
        ({"shared": 3}, "validation_in_training", "3 of 500"),
        ({"with_objects": 199}, "few_training_pictures", "199"),
        ({"val_images": 49}, "few_validation_pictures", "49"),
        ({"objects": {"cat": 4000, "dog": 9}}, "rare_classes", "'dog' have under 10"),
        ({"objects": {"cat": 4000, "dog": 30}}, "class_imbalance", "'cat' has 4000"),
        ({"long_side": 320, "short_side": 320}, "pictures_enlarged", "enlarges such 2.5 times"),
        ({"box_counts": (0, 60, 0, 40, 0, 0)}, "boxes_too_small", "60% of the boxes"),
    ],
)
def test_a_data_set_that_misleads_is_told_with_its_value(change, code, said):
    (found,) = data_advice(asked(facts=replace(GOOD, **change)))

    assert found.code == code
    assert found.pointer.startswith(("/dataset", "/input/"))
    assert said in found.message


def test_many_rare_classes_are_counted_and_not_all_named():
    objects = {f"c{n}": 1 for n in range(9)} | {"cat": 10}
    (found,) = data_advice(asked(facts=replace(GOOD, objects=objects)))

    assert found.code == "rare_classes"
    assert "and 4 more" in found.message
    assert "c5" not in found.message


def test_an_old_report_that_says_nothing_leads_to_no_warning():
    assert DataFacts.of({"errors": []}) == DataFacts()
    assert codes(data_advice(asked(facts=DataFacts()))) == []
    assert codes(training_advice(asked(facts=DataFacts()))) == []


def test_to_measure_a_teacher_few_training_pictures_do_no_harm():
    spec = EvaluateJob(kind="evaluate", dataset="d", teacher="t")
    facts = replace(GOOD, with_objects=1, shared=2)

    assert codes(data_advice(asked(spec, facts))) == ["validation_in_training"]


def test_facts_are_read_from_a_report():
    sides = {"edges": [0, 8, 16], "counts": [6, 2, 2]}
    train = {
        "images": 10,
        "images_without_objects": 1,
        "objects_per_class": {"cat": 9},
        "box_sides": sides,
        "median_long_side": 64,
        "median_short_side": 48,
    }
    facts = DataFacts.of({"train": train, "val": {"images": 4}, "shared_pictures": 1})

    assert (facts.train_images, facts.with_objects, facts.val_images) == (10, 9, 4)
    assert (facts.shared, facts.long_side, facts.short_side) == (1, 64, 48)
    assert [facts.boxes_under(side) for side in (7.9, 8, 16, 1000)] == [0, 0.6, 0.8, 0.8]


def test_a_batch_that_no_gpu_of_the_pool_holds_is_told_and_cpu_slots_do_not_count():
    few = around(gpu(24_000), gpu(40_000), gpu(900_000, uuid=""))

    (found,) = placement_advice(asked(), few, 41_000)

    assert (found.code, found.pointer) == ("batch_too_large_for_pool", "/training/batch_size")
    assert "about 41000 MiB" in found.message
    assert "16 pictures" in found.message
    assert "40000 MiB" in found.message
    assert codes(placement_advice(asked(), around(gpu(1, uuid="")), 41_000)) == []
    assert codes(placement_advice(asked(), few, None)) == []


@pytest.mark.parametrize(
    ("least", "warned"), [(0, True), (1, True), (29_999, True), (30_000, False), (35_000, False)]
)
def test_less_memory_asked_for_than_the_estimate_is_told(least, warned):
    mixed = around(gpu(24_000), gpu(40_000))

    found = list(placement_advice(asked(min_memory_mb=least), mixed, 30_000))

    assert codes(found) == (["min_memory_below_estimate"] if warned else [])
    assert all(one.parameter == "min_memory_mb" and "30000" in one.message for one in found)


def test_no_minimum_is_needed_where_every_gpu_is_large_enough():
    assert codes(placement_advice(asked(), around(gpu(40_000)), 30_000)) == []


def test_more_gpus_than_any_worker_ever_had_are_told():
    (found,) = placement_advice(asked(gpus=3), around(gpu(40_000), gpu(24_000)), None)
    assert (found.code, found.parameter) == ("larger_than_any_worker", "gpus")
    assert "3 GPUs" in found.message

    (found,) = placement_advice(asked(min_memory_mb=50_000), around(gpu(40_000)), 30_000)
    assert "50000 MiB" in found.message
    (found,) = placement_advice(asked(), around(), 30_000)
    assert found.code == "no_worker_in_pool"


def test_half_precision_where_there_never_was_a_gpu_is_told():
    job = asked(distill(training={"precision": "fp16"}))

    assert codes(placement_advice(job, around(gpu(1, uuid="")), None)) == [
        "half_precision_without_gpu"
    ]
    assert codes(placement_advice(job, around(gpu(1)), None)) == []


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        ({"max_running_gpus": 1}, ["quota_would_refuse"]),
        ({"max_running_gpus": 2, "running": 1}, ["quota_would_hold"]),
        ({"max_running_gpus": 3, "running": 1}, []),
        ({"max_queued_jobs": 2, "waiting": 2}, ["quota_would_refuse"]),
        ({"max_queued_jobs": 2, "waiting": 1}, []),
    ],
)
def test_what_the_teams_limits_will_do_is_told(state, expected):
    found = placement_advice(asked(gpus=2), around(gpu(40_000), **state), None)

    assert codes(found) == expected
