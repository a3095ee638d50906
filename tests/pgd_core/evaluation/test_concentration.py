from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from pgd_core.distill.quality import inside_boxes
from pgd_core.evaluation.concentration import MEASURES, ObjectRow, concentration, summary

LEVELS = ("P3", "P4")
SIZES = ((2, 2), (1, 1))
POINTS = torch.tensor([[4.0, 4], [12, 4], [4, 12], [12, 12], [8, 8]])
BOX = torch.tensor([[[0.0, 0, 16, 16]]])
INSIDE = torch.ones(1, 1, 5, dtype=torch.bool)


def _spread(*quality: float) -> Any:
    return concentration(torch.tensor([[quality]]), INSIDE, POINTS, BOX, SIZES)


def test_a_spread_worked_by_hand() -> None:
    found = _spread(0.1, 0.6, 0.1, 0.1, 0.1)
    assert float(found.mass) == pytest.approx(1.0)
    assert float(found.half_mass_positions) == 1
    assert float(found.half_mass_share) == pytest.approx(0.2)
    # 0.1 · (4, 4) + 0.6 · (12, 4) + 0.1 · (4, 12) + 0.1 · (12, 12) + 0.1 · (8, 8) = (10, 6)
    assert float(found.centre_distance) == pytest.approx(math.hypot(2, 2))
    assert float(found.centre_distance_relative) == pytest.approx(math.hypot(2, 2) / 16)
    assert found.level_shares[0, 0].tolist() == pytest.approx([0.9, 0.1])


def test_equal_positions_hold_half_together_at_the_boxs_centre() -> None:
    found = _spread(0.3, 0.3, 0.3, 0.3, 0.0)
    assert float(found.half_mass_positions) == 2
    assert float(found.centre_distance) == pytest.approx(0, abs=1e-6)


def test_the_distance_is_relative_to_each_side_of_its_own() -> None:
    box = torch.tensor([[[0.0, 0, 16, 32]]])
    found = concentration(torch.tensor([[[0.0, 1, 0, 0, 0]]]), INSIDE, POINTS, box, SIZES)
    assert float(found.centre_distance) == pytest.approx(math.hypot(4, 12))
    assert float(found.centre_distance_relative) == pytest.approx(math.hypot(4 / 16, 12 / 32))


def test_many_objects_agree_with_a_plain_loop() -> None:
    random = torch.Generator().manual_seed(0)
    points = torch.rand(60, 2, generator=random).double() * 64
    corners = torch.rand(2, 4, 2, generator=random).double() * 32
    boxes = torch.cat([corners, corners + 20], dim=-1)
    eligible = inside_boxes(points, boxes)
    quality = torch.rand(2, 4, 60, generator=random).double() * eligible
    found = concentration(quality, eligible, points, boxes, ((5, 10), (2, 5)))
    for n in range(2):
        for g in range(4):
            q = quality[n, g].tolist()
            half, held = 0, 0.0
            for value in sorted(q, reverse=True):
                if held >= sum(q) / 2:
                    break
                half, held = half + 1, held + value
            assert int(found.half_mass_positions[n, g]) == half
            x = sum(v * float(p[0]) for v, p in zip(q, points, strict=True)) / sum(q)
            y = sum(v * float(p[1]) for v, p in zip(q, points, strict=True)) / sum(q)
            x1, y1, x2, y2 = boxes[n, g].tolist()
            expected = math.hypot(x - (x1 + x2) / 2, y - (y1 + y2) / 2)
            assert float(found.centre_distance[n, g]) == pytest.approx(expected)
            assert float(found.level_shares[n, g, 0]) == pytest.approx(sum(q[:50]) / sum(q))
            assert int(found.positions[n, g]) == int(eligible[n, g].sum())


def test_an_object_without_quality_has_no_numbers_and_a_batch_without_objects_no_rows() -> None:
    found = _spread(0.0, 0.0, 0.0, 0.0, 0.0)
    assert float(found.mass) == 0
    for name in MEASURES:
        assert math.isnan(float(getattr(found, name)))
    none = concentration(
        torch.zeros(2, 0, 5), torch.zeros(2, 0, 5, dtype=torch.bool), POINTS, BOX[:, :0], SIZES
    )
    assert none.half_mass_positions.shape == (2, 0)


def _row(side: float, half: float = 2.0, mass: float = 1.0) -> ObjectRow:
    return ObjectRow(
        image_id=7,
        class_name="cat",
        box=(10.0, 10.0, 10 + side, 10 + side),
        branch="cls",
        positions=4,
        mass=mass,
        half_mass_positions=half,
        half_mass_share=half / 4,
        centre_distance=1.5,
        centre_distance_relative=0.1,
        level_shares=(0.75, 0.25) if mass else (math.nan, math.nan),
    )


def test_objects_are_small_medium_and_large_as_cocos() -> None:
    assert [_row(side).size for side in (31.9, 32, 96, 96.1)] == [
        "small",
        "medium",
        "medium",
        "large",
    ]


def test_a_summary_has_quartiles_by_size_and_counts_objects_without_quality_apart() -> None:
    rows = [*(_row(20, half) for half in (1.0, 2, 3, 4, 5)), _row(20, math.nan, mass=0.0)]
    found = summary(rows, LEVELS)
    assert found["all"] == found["small"]
    assert (found["small"]["objects"], found["small"]["without_quality"]) == (6, 1)
    assert found["small"]["half_mass_positions"] == {
        "first_quartile": 2,
        "median": 3,
        "third_quartile": 4,
    }
    assert found["small"]["level_shares"] == {"P3": 0.75, "P4": 0.25}
    assert found["large"]["half_mass_share"]["median"] is None
    assert found["large"]["level_shares"] == {"P3": None, "P4": None}


def test_a_row_of_csv_leaves_out_what_cannot_be_measured() -> None:
    cells = _row(20, math.nan, mass=0.0).as_csv(LEVELS)
    assert cells["half_mass_positions"] == cells["share_P3"] == ""
    assert (cells["image_id"], cells["class"], cells["x2"], cells["size"]) == (
        7,
        "cat",
        30,
        "small",
    )
