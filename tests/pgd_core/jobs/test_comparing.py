"""Models side by side."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from pgd_core.jobs.comparing import Comparison, compare
from pgd_core.jobs.models import Model

COST = {"parameters": 5, "input_height": 800, "input_width": 1344, "device": "H100"}


def model(name: str = "a", **rest: Any) -> Model:
    values: dict[str, Any] = {
        "id": name,
        "team": "default",
        "name": name,
        "version": 1,
        "job_id": f"job-{name}",
        "kind": "distill",
        "dataset_id": "d",
        "detector": {},
        "classes": (),
        "lineage": {"dataset": {"sha256": "s"}},
        "metrics": {"AP": 30.0},
        "cost": COST,
        "gain": {},
        "size": 7,
        "sha256": "0",
        "export_job": None,
        "notes": "",
        "tags": (),
        "created_at": datetime.now(UTC),
    }
    return Model(**values | rest)


def table(found: Comparison) -> dict[tuple[str, str], tuple[object, ...]]:
    return {(row.section, row.field): row.values for row in found.rows}


def test_metrics_gain_and_cost_stand_side_by_side() -> None:
    a = model("a", gain={"over_plain": 2.5})
    b = model("b", metrics={"AP": 31.5, "AP_per_class": {"cat": None, "dog/cow": 2}}, size=9)

    found = compare([a, b], [{}, {}])

    assert table(found) == {
        ("metrics", "AP"): (30.0, 31.5),
        ("metrics", "AP_per_class/cat"): (None, None),
        ("metrics", "AP_per_class/dog~1cow"): (None, 2),
        ("gain", "over_plain"): (2.5, None),
        ("cost", "parameters"): (5, 5),
        ("cost", "input_height"): (800, 800),
        ("cost", "input_width"): (1344, 1344),
        ("cost", "device"): ("H100", "H100"),
        ("cost", "weights_bytes"): (7, 9),
    }
    assert found.warnings == ()


def test_of_the_specs_only_what_differs_is_told_and_the_name_is_not() -> None:
    specs = [
        {"name": "a", "kind": "distill", "method": {"name": "pgd", "alpha": 1}, "twins": ["plain"]},
        {"name": "b", "kind": "distill", "method": {"name": "fgd"}, "twins": []},
    ]

    rows = compare([model("a"), model("b")], specs).rows

    assert {r.field: r.values for r in rows if r.section == "spec"} == {
        "/method/name": ("pgd", "fgd"),
        "/method/alpha": (1, None),
        "/twins": ('["plain"]', "[]"),
    }


def test_what_is_long_is_cut() -> None:
    rows = compare([model("a"), model("b")], [{"classes": ["x" * 500]}, {}]).rows

    (text,) = [row.values[0] for row in rows if row.section == "spec"]
    assert isinstance(text, str)
    assert (len(text), text[-1]) == (200, "…")


@pytest.mark.parametrize(
    ("other", "said"),
    [
        ({"lineage": {"dataset": {"sha256": "t"}}}, "different data sets"),
        ({"lineage": {"dataset": None}, "dataset_id": "e"}, "different data sets"),
        ({"cost": COST | {"input_width": 640}}, "different sizes"),
        ({"cost": COST | {"device": "cpu"}}, "different devices"),
    ],
)
def test_what_cannot_be_compared_is_told(other: dict[str, Any], said: str) -> None:
    (warning,) = compare([model("a"), model("b", **other)], [{}, {}]).warnings

    assert said in warning
