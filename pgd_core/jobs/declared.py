"""What is said of a teacher against what its tensors show: when it is declared, and when what was
recognised is confirmed."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from pgd_core.errors import FieldProblem, InvalidSpec
from pgd_core.jobs.detector import DetectorSpec
from pgd_core.jobs.job import Teacher
from pgd_core.jobs.recognised import Recognised

MOST_CLASSES = 10_000
_NAME = re.compile(r"[^\x00-\x1f\x7f]{1,200}")


def contradictions(declared: DetectorSpec, classes: int, found: Recognised) -> list[FieldProblem]:
    """What the declaration says otherwise than the tensors, as far as these tell."""
    said = {**_architecture(declared), "/classes": classes}
    seen: dict[str, object] = {
        "/model/detector": found.detector,
        "/model/backbone/name": found.backbone,
        "/model/head_width": found.head_width,
        "/model/head_convs": found.head_convs,
        "/classes": found.classes,
    }
    if found.model:
        seen["/model/backbone/width"] = found.model.backbone.width
    if declared.backbone.timm_name:
        del seen["/model/backbone/name"]  # no tensor tells it
    return [
        FieldProblem(
            pointer, f"{_NOUN[pointer]} is declared as {said[pointer]} and looks like {it}"
        )
        for pointer, it in seen.items()
        if it is not None and said[pointer] != it
    ]


def order_contradiction(classes: Sequence[str] | None, found: Recognised) -> str | None:
    """Why the classes stand in another order than the checkpoint's own; None where they do not."""
    there, here = found.class_names, tuple(classes or ())
    if there is None or there == here or len(there) != len(here) or set(there) != set(here):
        return None
    pairs = enumerate(zip(there, here, strict=True))
    at = next(index for index, (theirs, ours) in pairs if theirs != ours)
    return (
        f"the classes are declared in another order than the checkpoint's: class {at} is "
        f"{there[at]!r} there and {here[at]!r} here; declare them in its order"
    )


def confirmed(
    teacher: Teacher,  # unconfirmed
    model: DetectorSpec | None,  # where it is said to be otherwise than declared or recognised
    classes: Sequence[str] | None,  # likewise
) -> tuple[DetectorSpec, tuple[str, ...]]:
    """The teacher's detector and classes, as it will be used; InvalidSpec with all that is wrong.

    Its weights were converted once, as declared or else as recognised. What is said now may differ
    from that only where the converted file stays the same, such as the groups of a norm.
    """
    found = Recognised.model_validate(teacher.recognised)
    converted = _converted(teacher.model, found)
    model = model or converted
    names = tuple(classes or teacher.classes or found.class_names or ())
    problems = _of_classes(names, found)
    known = {problem.pointer for problem in problems}
    problems += [p for p in contradictions(model, len(names), found) if p.pointer not in known]
    known = {problem.pointer for problem in problems}
    old, new = _architecture(converted), _architecture(model)
    problems += [
        FieldProblem(
            pointer,
            f"{_NOUN[pointer]} is {new[pointer]} and the weights were checked as {old[pointer]}; "
            "register the upload again with this declaration",
        )
        for pointer in new
        if new[pointer] != old[pointer] and pointer not in known
    ]
    if problems:
        raise InvalidSpec("; ".join(problem.message for problem in problems), tuple(problems))
    return model, names


_NOUN = {
    "/model/detector": "detector",
    "/model/backbone/name": "backbone",
    "/model/backbone/width": "width",
    "/model/head_width": "head_width",
    "/model/head_convs": "head_convs",
    "/classes": "classes",
}


def _architecture(model: DetectorSpec) -> dict[str, object]:
    """What shapes and names of tensors depend on, by JSON pointer."""
    return {
        "/model/detector": model.detector.value,
        "/model/backbone/name": str(model.backbone.name),
        "/model/backbone/width": model.backbone.width,
        "/model/head_width": model.head_width,
        "/model/head_convs": model.head_convs,
    }


def _converted(declared: Mapping[str, Any], found: Recognised) -> DetectorSpec:
    """What the check has converted the weights as."""
    if declared:
        return DetectorSpec.model_validate(declared)
    assert found.model is not None, "an unconfirmed teacher was declared or recognised"
    return found.model


def _of_classes(names: Sequence[str], found: Recognised) -> list[FieldProblem]:
    """What is wrong with the names, which may be the checkpoint's own words."""
    if not names:
        message = f"the names of its {found.classes} classes were not recognised; give them"
    elif len(names) > MOST_CLASSES or len(set(names)) != len(names):
        message = f"give at most {MOST_CLASSES} names, none of them twice"
    elif not all(_NAME.fullmatch(name) for name in names):
        message = "a name is empty, longer than 200 characters, or holds a control character"
    else:
        message = order_contradiction(names, found) or ""
    return [FieldProblem("/classes", message)] if message else []
