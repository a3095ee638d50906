from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from pgd_core.jobs.detector import BackboneSpec, DetectorSpec
from pgd_core.jobs.presets import PRESETS
from pgd_core.jobs.spec import StudyJob
from pgd_core.jobs.study import Cell, cells, job_of_cell, teachers_to_train
from pgd_core.jobs.study_table import Outcome, spread, study_table

MODELS = {
    name: DetectorSpec(detector=name, backbone=BackboneSpec(name="resnet50"))
    for name in ("fcos", "gfl", "atss", "ddod", "autoassign")
}

FAR_TOO_MANY = [  # to lay out before they are counted
    ("method.top_k", list(range(1, 65))),
    ("training.epochs", list(range(1, 65))),
    ("training.seed", list(range(64))),
    ("training.batch_size", list(range(1, 65))),
    ("method.alpha", list(range(64))),
    ("method.beta", list(range(64))),
]
ABYSS: list[Any] = []
for _ in range(900):  # as deep as JSON can be read
    ABYSS = [ABYSS]


def study(**more: Any) -> StudyJob:
    base = {
        "kind": "study",
        "dataset": "d",
        "teachers": {"fcos": "t1", "gfl": "t2"},
        "student": {"name": "resnet18"},
    }
    return StudyJob.model_validate(base | more)


def axes(*pairs: tuple[str, list[Any]]) -> dict[str, Any]:
    return {"axes": [{"field": field, "values": values} for field, values in pairs]}


def rows_of(found: list[Cell]) -> list[tuple[str, str, int]]:
    return [(cell.teacher, cell.row, cell.seed) for cell in found]


def test_every_combination_is_a_job_and_each_reference_is_trained_once() -> None:
    found = cells(study(matrices=[axes(("method", ["pgd", "frs"]))], seeds=[0, 1]), MODELS)

    assert rows_of(found)[:4] == [
        ("fcos", "plain student", 0),
        ("fcos", "head-only student", 0),
        ("fcos", "PGD", 0),
        ("fcos", "plain student", 1),
    ]
    assert len(found) == 2 * 2 * (2 + 2)
    assert len({cell.key for cell in found}) == len(found)
    plain, head_only, pgd = found[:3]
    assert (plain.spec["method"]["name"], plain.spec["inherit_head"]) == ("none", False)
    assert (head_only.spec["method"]["name"], head_only.spec["inherit_head"]) == ("none", True)
    assert pgd.references == {"plain": plain.key, "head_only": head_only.key}


def test_a_setting_that_is_not_of_the_method_has_references_of_its_own() -> None:
    one = study(teachers={"fcos": "t"}, matrices=[axes(("training.epochs", [1, 2]))])
    found = cells(one, MODELS)
    assert [row for _, row, _ in rows_of(found)] == [
        "plain student, epochs 1",
        "head-only student, epochs 1",
        "PGD, epochs 1",
        "plain student, epochs 2",
        "head-only student, epochs 2",
        "PGD, epochs 2",
    ]


def test_options_of_a_method_share_their_references() -> None:
    one = study(teachers={"fcos": "t"}, matrices=[axes(("method.top_k", [1, 30]))])
    found = [row for _, row, _ in rows_of(cells(one, MODELS))]
    assert found == ["plain student", "head-only student", "PGD, top_k 1", "PGD, top_k 30"]


def test_a_matrix_may_name_teachers_and_seeds_of_its_own() -> None:
    two = study(
        references=[],
        matrices=[{"teachers": ["gfl"], "seeds": [5], **axes(("method", ["frs"]))}, {}],
    )
    assert rows_of(cells(two, MODELS)) == [("gfl", "FRS", 5), ("fcos", "PGD", 0), ("gfl", "PGD", 0)]


def test_self_distillation_takes_each_teachers_own_backbone() -> None:
    found = cells(study(student="teacher", references=[]), MODELS)
    assert {cell.spec["student"]["name"] for cell in found} == {"resnet50"}


def test_a_method_that_cannot_serve_a_detector_is_marked() -> None:
    found = cells(study(references=[], matrices=[axes(("method", ["ld"]))]), MODELS)
    assert {cell.teacher: cell.served for cell in found} == {"fcos": False, "gfl": True}


def test_the_same_cell_is_the_same_job_again() -> None:
    once, again = (cells(study(), MODELS)[0] for _ in range(2))
    assert once.key == again.key
    assert job_of_cell(once, "T") == job_of_cell(again, "T")


def test_teachers_to_train_take_the_studys_training_unless_they_have_their_own() -> None:
    model = MODELS["fcos"].model_dump(mode="json")
    one = study(
        teachers={
            "a": {"model": model},
            "b": {"model": model, "training": {"epochs": 3}},
            "c": "t",
        },
        training={"epochs": 7},
    )
    jobs = teachers_to_train(one)
    assert {name: job.training.epochs for name, job in jobs.items()} == {"a": 7, "b": 3}


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"teachers": {}}, "needs teachers"),
        ({"student": None}, "needs teachers and a student"),
        ({"matrices": [{"teachers": ["yolo"]}]}, "yolo, which is none of the teachers"),
        ({"seeds": [1, 1]}, "names one twice"),
        ({"matrices": [axes(("method", ["pgd", "pgd"]))]}, "names a value twice"),
        ({"matrices": [axes(("method", ["yolo"]))]}, "yolo"),
        ({"matrices": [axes(("method.top_q", [1]))]}, "top_q"),
        ({"matrices": [axes(("kind.name", [1]))]}, "leads into a field that holds no others"),
        ({"matrices": [axes(("training.epochs", [0]))]}, "greater than or equal to 1"),
        ({"seeds": list(range(64)), "matrices": [axes(("method.top_k", [1, 2, 3, 4]))]}, "at most"),
        ({"matrices": [axes(*FAR_TOO_MANY)]}, "137438953472 students; at most 500"),
        ({"matrices": [axes(("method.top_k", [ABYSS]))]}, "more than 8 deep"),
        ({"teachers": {"a|b": "t"}}, "pattern"),
        ({"preset": "table9"}, "table1"),
    ],
)
def test_an_impossible_study_is_refused_before_anything_is_queued(
    wrong: dict[str, Any], told: str
) -> None:
    with pytest.raises(ValidationError, match=told):
        study(**wrong)


@pytest.mark.parametrize("name", list(PRESETS))
def test_each_table_of_the_paper_is_a_study(name: str) -> None:
    paper = StudyJob.model_validate({"kind": "study", "dataset": "d", "preset": name})
    stored = paper.model_dump(mode="json")
    assert StudyJob.model_validate(stored) == paper
    models = {n: t.model for n, t in paper.teachers.items() if not isinstance(t, str)}
    assert any(cell.served for cell in cells(paper, models))


def test_a_given_field_wins_over_the_preset() -> None:
    own = StudyJob.model_validate(
        {
            "kind": "study",
            "dataset": "d",
            "preset": "table7",
            "teachers": {"mine": "t"},
            "student": {"name": "mobilenet_v2"},
        }
    )
    found = cells(own, {"mine": MODELS["gfl"]})
    assert {cell.teacher for cell in found} == {"mine"}
    assert [cell.row for cell in found if cell.references] == [
        f"PGD, branches {b}" for b in ("neck", "cls", "reg", "cls+reg")
    ]


# The table


def outcome(ap: float | None, state: str = "succeeded") -> Outcome:
    metrics = None if ap is None else {"AP": ap, "AP_per_class": {"a": 1.0}}
    return Outcome("job", state, "" if ap is not None else "no memory", metrics)


def test_gains_are_taken_seed_by_seed() -> None:
    plan = cells(study(teachers={"fcos": "t"}, seeds=[0, 1], references=["plain"]), MODELS)
    aps = {("plain student", 0): 10.0, ("plain student", 1): 14.0, ("PGD", 0): 12.0, ("PGD", 1): 20}
    outcomes = {cell.key: outcome(aps[cell.row, cell.seed]) for cell in plan}
    table = study_table(plan, outcomes, {"fcos": outcome(40.0)})

    plain, pgd = table["rows"]
    assert plain["metrics"]["AP"] == pytest.approx({"mean": 12, "n": 2, "std": 8**0.5})
    assert pgd["gain_over"] == {"plain": pytest.approx({"mean": 4, "n": 2, "std": 8**0.5})}
    assert table["teachers"]["fcos"]["metrics"] == {"AP": 40.0}


def test_a_failed_child_is_a_marked_gap() -> None:
    plan = cells(study(teachers={"fcos": "t"}, seeds=[0, 1], references=["plain"]), MODELS)
    outcomes = {cell.key: outcome(10.0) for cell in plan}
    lost = next(cell for cell in plan if cell.row == "plain student" and cell.seed == 1)
    outcomes[lost.key] = outcome(None, "failed")
    plain, pgd = study_table(plan, outcomes, {"fcos": outcome(None)})["rows"]

    assert (plain["gaps"], pgd["gaps"]) == (1, 0)
    assert plain["runs"][1]["state"] == "failed"
    assert plain["runs"][1]["message"] == "no memory"
    assert pgd["gain_over"]["plain"] == {"mean": 0.0, "n": 1.0}
    assert [run["gain_over"]["plain"] for run in pgd["runs"]] == [0.0, None]


def test_one_value_has_no_spread() -> None:
    assert spread([]) == {}
    assert spread([3.0]) == {"mean": 3.0, "n": 1.0}
