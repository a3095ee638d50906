from __future__ import annotations

import json
from pathlib import Path

from pgd_core.datasets.layout import CocoSplit, DatasetFiles


def test_a_split_is_written_as_coco_with_ids_from_one(tmp_path: Path) -> None:
    split = CocoSplit(("cat", "dog"))
    image_id = split.add_image("a.png", 60, 40)
    split.add_box(image_id, 1, (5, 6, 25, 16))
    split.write(tmp_path / "train.json")
    assert json.loads((tmp_path / "train.json").read_text()) == {
        "images": [{"id": 1, "file_name": "a.png", "width": 60, "height": 40}],
        "annotations": [
            {
                "id": 1,
                "image_id": 1,
                "category_id": 2,
                "bbox": [5.0, 6.0, 20.0, 10.0],
                "area": 200.0,
                "iscrowd": 0,
            }
        ],
        "categories": [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}],
    }
    assert [path.name for path in tmp_path.iterdir()] == ["train.json"]


def test_the_four_parts_lie_under_one_folder() -> None:
    files = DatasetFiles.under(Path("set"))
    assert files.val_annotations == Path("set/val.json")
    assert files.train_images == Path("set/train")


def test_crowdhumans_names_are_taken_only_where_cocos_are_absent(tmp_path: Path) -> None:
    assert DatasetFiles.under(tmp_path).val_annotations == tmp_path / "val.json"
    (tmp_path / "train.odgt").touch()
    assert DatasetFiles.under(tmp_path).val_annotations == tmp_path / "val.odgt"
    assert DatasetFiles.under(tmp_path, ".json").val_annotations == tmp_path / "val.json"
    (tmp_path / "train.json").touch()
    assert DatasetFiles.under(tmp_path).train_annotations == tmp_path / "train.json"
