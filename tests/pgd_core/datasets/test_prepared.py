from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pgd_core.datasets.prepared import write_prepared


def _prepared(folder: Path, row: dict[str, Any]) -> dict[str, Any]:
    content = {
        "info": {"year": 2017},
        "images": [{"id": 7, "file_name": "a.png", "width": 60, "height": 40, "license": 3}],
        "annotations": [{"id": 1, "image_id": 7, "category_id": 2, **row}],
        "categories": [{"id": 2, "name": "cat", "supercategory": "animal"}],
    }
    (folder / "train.json").write_text(json.dumps(content))
    write_prepared(folder / "train.json", folder / "prepared.json")
    written = json.loads((folder / "prepared.json").read_text())
    assert written["images"] == [{"id": 7, "file_name": "a.png", "width": 60, "height": 40}]
    assert written["categories"] == [{"id": 2, "name": "cat"}]
    (prepared,) = written["annotations"]
    assert isinstance(prepared, dict)
    return prepared


def test_a_box_inside_stays_with_its_mask_area(tmp_path: Path) -> None:
    row = _prepared(tmp_path, {"bbox": [1, 2, 10, 20], "area": 150, "segmentation": [[1, 2]]})
    assert row == {
        "id": 1,
        "image_id": 7,
        "category_id": 2,
        "bbox": [1, 2, 10, 20],
        "area": 150,
        "iscrowd": 0,
    }


def test_a_box_sticking_out_is_clipped_with_its_area(tmp_path: Path) -> None:
    row = _prepared(tmp_path, {"bbox": [-5, 30, 10, 20], "area": 200, "iscrowd": 1})
    assert row["bbox"] == [0, 30, 5, 10]
    assert row["area"] == 50
    assert row["iscrowd"] == 1


def test_a_picture_gets_the_one_name_that_the_check_knew_it_by(tmp_path: Path) -> None:
    content = {
        "images": [{"id": 7, "file_name": ".//b/./a.png", "width": 60, "height": 40}],
        "annotations": [],
        "categories": [],
    }
    (tmp_path / "train.json").write_text(json.dumps(content))
    write_prepared(tmp_path / "train.json", tmp_path / "prepared.json")
    written = json.loads((tmp_path / "prepared.json").read_text())
    assert written["images"][0]["file_name"] == "b/a.png"


@pytest.mark.parametrize("row", [{}, {"area": 0}, {"area": -3}])
def test_an_area_that_says_nothing_is_the_boxs(tmp_path: Path, row: dict[str, Any]) -> None:
    assert _prepared(tmp_path, {"bbox": [0, 0, 10, 20], **row})["area"] == 200
