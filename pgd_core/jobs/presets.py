"""The paper's own tables as studies: what a field of `StudyJob` is when a preset is named.

A field that is given wins. Teachers are ResNet-101, trained 3x with multi-scale inputs; students
ResNet-50, 1x. Settings of the other methods are this project's presets: those of the paper's
authors were not published.
"""

from __future__ import annotations

from typing import Any, Literal

PresetName = Literal["table1", "table2", "table3", "table4", "table5", "table6", "table7"]

_MULTI_SCALE = [640, 672, 704, 736, 768, 800]
_OTHERS = ["fgfi", "defeat", "frs", "fkd", "ld", "fgd"]
_RESNET50 = {"name": "resnet50", "weights": "imagenet"}
_CROWDHUMAN = {"long_side": 1400, "short_side": 800}


def _teacher(detector: str, backbone: str = "resnet101") -> dict[str, Any]:
    return {
        "model": {"detector": detector, "backbone": {"name": backbone, "weights": "imagenet"}},
        "input": {"multi_scale_short_sides": _MULTI_SCALE},
        "training": {"epochs": 36, "batch_size": 32},
    }


def _table(
    detectors: list[str], *matrices: dict[str, Any], student: Any = None, **fields: Any
) -> dict[str, Any]:
    return {
        "teachers": {detector: _teacher(detector) for detector in detectors},
        "student": student or _RESNET50,
        "training": {"epochs": 12, "batch_size": 32},
        "inherit_head": None,
        "matrices": list(matrices),
        **fields,
    }


def _over(field: str, values: list[Any], *teachers: str) -> dict[str, Any]:
    return {"teachers": list(teachers), "axes": [{"field": field, "values": values}]}


PRESETS: dict[PresetName, dict[str, Any]] = {
    # Every method on every detector that it serves.
    "table1": _table(
        ["fcos", "autoassign", "atss", "gfl", "ddod"], _over("method", [*_OTHERS, "pgd"])
    ),
    # A student for small devices.
    "table2": _table(
        ["fcos", "atss"],
        _over("method", ["fgd", "pgd"]),
        student={"name": "mobilenet_v2", "weights": "imagenet"},
    ),
    # CrowdHuman: a data set of .odgt annotations.
    "table3": _table(
        ["ddod"],
        _over("method", ["fkd", "defeat", "frs", "fgfi", "fgd", "pgd"]),
        input=_CROWDHUMAN,
    ),
    # Self-distillation: teacher and student alike, both 1x at one scale.
    "table4": _table(
        [],
        _over("method", ["fgd", "pgd"]),
        student="teacher",
        teachers={
            detector: {
                "model": {"detector": detector, "backbone": _RESNET50},
            }
            for detector in ("fcos", "atss")
        },
    ),
    # Foreground strategies.
    "table5": _table(
        ["atss"],
        _over(
            "method.strategy", ["box", "box_gauss", "centre", "quality", "topk_eq", "kde", "pgw"]
        ),
    ),
    # (a) K; (b) alpha.
    "table6": _table(
        ["fcos", "atss"],
        _over("method.top_k", [1, 5, 9, 15, 30, 45, 60], "atss"),
        _over("method.alpha", [0.005, 0.01, 0.03, 0.05, 0.07, 0.1, 0.2]),
    ),
    # Branches.
    "table7": _table(["atss"], _over("method.branches", ["neck", "cls", "reg", "cls+reg"])),
}
