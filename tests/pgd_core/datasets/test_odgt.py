from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

from pgd_core.datasets.odgt import CrowdRow, coco_content, is_odgt, read_odgt
from pgd_core.datasets.prepared import write_prepared


def _file(folder: Path, *rows: object) -> Path:
    path = folder / "val.odgt"
    path.write_text("\n".join(json.dumps(row) for row in rows) + "\n\n")
    return path


def test_the_name_tells_the_format() -> None:
    assert is_odgt(Path("annotation_train.odgt"))
    assert is_odgt(Path("TRAIN.ODGT"))
    assert not is_odgt(Path("train.odgt.json"))


def test_persons_and_ignore_regions_are_told_apart(tmp_path: Path) -> None:
    boxes = [
        {"tag": "person", "fbox": [1, 2, 3, 4]},
        {"tag": "person", "fbox": [2, 2, 3, 4], "extra": {"ignore": 0, "occ": 1}},
        {"tag": "person", "fbox": [3, 2, 3, 4], "extra": {"ignore": 1}},
        {"tag": "mask", "fbox": [4, 2, 3, 4], "extra": {"ignore": 0}},
        {"tag": "rider", "fbox": [5, 2, 0, 4]},
    ]
    (row,) = read_odgt(_file(tmp_path, {"ID": "a,b", "gtboxes": boxes}))
    assert row.id == "a,b"
    assert [box[0] for box in row.persons] == [1, 2]
    assert [box[0] for box in row.ignored] == [3, 4, 5]


def test_rows_become_coco_with_ignore_regions_as_crowds() -> None:
    row = CrowdRow("a", persons=((-5, 1, 10, 10), (0, 0, 0, 5)), ignored=((1, 1, 2, 2),))
    content = coco_content([row, CrowdRow("b", ((70, 0, 5, 5),), ())], {"a": (60, 40), "b": (9, 9)})
    assert content["images"] == [
        {"id": 1, "file_name": "a.jpg", "width": 60, "height": 40},
        {"id": 2, "file_name": "b.jpg", "width": 9, "height": 9},
    ]
    assert content["categories"] == [{"id": 1, "name": "person"}]
    found = [(a["id"], a["image_id"], a["bbox"], a["iscrowd"]) for a in content["annotations"]]
    assert found == [(1, 1, [-5, 1, 10, 10], 0), (2, 1, [1, 1, 2, 2], 1)]  # the rest has no area


@pytest.mark.parametrize("orientation", [1, 6])
def test_an_odgt_file_is_prepared_with_the_sizes_of_its_pictures(
    tmp_path: Path, orientation: int
) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.new("RGB", (60, 40)).save(tmp_path / "a.jpg", exif=exif)
    boxes = [{"tag": "person", "fbox": [30, 20, 200, 200]}]
    odgt = _file(tmp_path, {"ID": "a", "gtboxes": boxes})
    write_prepared(odgt, tmp_path / "val.json", tmp_path)
    content = json.loads((tmp_path / "val.json").read_text())
    width, height = (60, 40) if orientation == 1 else (40, 60)
    assert content["images"] == [{"id": 1, "file_name": "a.jpg", "width": width, "height": height}]
    (annotation,) = content["annotations"]
    assert annotation["bbox"] == [30, 20, width - 30, height - 20]
    assert annotation["area"] == (width - 30) * (height - 20)
