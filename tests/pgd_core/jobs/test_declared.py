from __future__ import annotations

from datetime import UTC, datetime

import pytest

from pgd_core.errors import FieldProblem, InvalidSpec
from pgd_core.jobs.declared import confirmed, contradictions, order_contradiction
from pgd_core.jobs.job import CheckState, Teacher
from pgd_core.jobs.recognised import Recognised
from pgd_core.jobs.spec import BackboneSpec, DetectorSpec

MODEL = DetectorSpec(
    detector="gfl", backbone=BackboneSpec(name="mobilenet_v2", width=0.5), head_width=64
)
FOUND = Recognised(
    detector="gfl",
    backbone="mobilenet_v2",
    width=0.5,
    head_width=64,
    head_convs=4,
    classes=3,
    class_names=("a", "b", "c"),
    model=MODEL,
)


def teacher(found: Recognised = FOUND, **declared: object) -> Teacher:
    """One whose check has ended, before its confirmation."""
    said = {"model": {}, "classes": (), **declared}
    return Teacher(
        id="1",
        name="big",
        state=CheckState.UNCONFIRMED,
        source_job=None,
        upload="u",
        key="k",
        sha256="s",
        message="",
        created_at=datetime.now(UTC),
        recognised=found.model_dump(mode="json"),
        **said,  # type: ignore[arg-type]
    )


def changed(**changes: object) -> DetectorSpec:
    return DetectorSpec.model_validate(MODEL.model_dump() | changes)


def test_a_declaration_that_says_what_the_tensors_say_contradicts_nothing() -> None:
    assert contradictions(MODEL, 3, FOUND) == []
    assert contradictions(changed(norm_groups=2), 3, FOUND) == []


def test_each_contradiction_points_to_its_field() -> None:
    other = changed(detector="fcos", backbone={"name": "resnet50"}, head_width=128, head_convs=2)

    assert contradictions(other, 80, FOUND) == [
        FieldProblem("/model/detector", "detector is declared as fcos and looks like gfl"),
        FieldProblem(
            "/model/backbone/name", "backbone is declared as resnet50 and looks like mobilenet_v2"
        ),
        FieldProblem("/model/head_width", "head_width is declared as 128 and looks like 64"),
        FieldProblem("/model/head_convs", "head_convs is declared as 2 and looks like 4"),
        FieldProblem("/classes", "classes is declared as 80 and looks like 3"),
        FieldProblem("/model/backbone/width", "width is declared as 1.0 and looks like 0.5"),
    ]


def test_what_tensors_do_not_tell_is_not_contradicted() -> None:
    unseen = Recognised(detector="gfl", backbone="mobilenet_v2")

    assert contradictions(changed(head_width=32), 9, unseen) == []
    timm = changed(backbone={"name": "timm/resnet10t"})
    assert contradictions(timm, 3, FOUND.model_copy(update={"model": None})) == []


def test_only_the_same_names_in_another_order_are_in_another_order() -> None:
    assert order_contradiction(("a", "b", "c"), FOUND) is None
    assert order_contradiction(("x", "y", "z"), FOUND) is None
    assert order_contradiction(("b", "a"), FOUND) is None
    assert order_contradiction(None, FOUND) is None
    assert "class 1 is 'b' there and 'c' here" in str(order_contradiction(("a", "c", "b"), FOUND))


def test_said_goes_before_declared_and_declared_before_recognised() -> None:
    declared = changed(norm_groups=8).model_dump(mode="json")

    assert confirmed(teacher(), None, None) == (MODEL, ("a", "b", "c"))
    partly = teacher(model=declared, classes=("x", "y", "z"))
    assert confirmed(partly, None, None) == (changed(norm_groups=8), ("x", "y", "z"))
    said = confirmed(partly, changed(norm_groups=4), ("p", "q", "r"))
    assert said == (changed(norm_groups=4), ("p", "q", "r"))


@pytest.mark.parametrize(
    ("changes", "pointer"),
    [
        ({"head_convs": 2}, "/model/head_convs"),
        ({"backbone": {"name": "timm/resnet10t"}}, "/model/backbone/name"),
        ({"backbone": {"name": "mobilenet_v2", "width": 1.0}}, "/model/backbone/width"),
    ],
)
def test_what_the_weights_were_not_converted_as_is_refused_though_no_tensor_was_seen(
    changes: dict[str, object], pointer: str
) -> None:
    unseen = Recognised(detector="gfl", backbone="mobilenet_v2", classes=3)
    partly = teacher(unseen, model=MODEL.model_dump(mode="json"))

    with pytest.raises(InvalidSpec, match="register the upload again") as refused:
        confirmed(partly, changed(**changes), ("a", "b", "c"))

    assert pointer in [problem.pointer for problem in refused.value.problems]


def test_all_problems_are_told_at_once() -> None:
    with pytest.raises(InvalidSpec) as refused:
        confirmed(teacher(), changed(head_width=32), ("a", "a", "a"))

    assert [p.pointer for p in refused.value.problems] == ["/classes", "/model/head_width"]
