from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pgd_core.datasets import contact_sheet
from pgd_core.datasets.coco import check_dataset
from pgd_core.datasets.contact_sheet import PANEL, PICTURES
from pgd_core.datasets.layout import CocoSplit, DatasetFiles
from pgd_core.evaluation.pictures import TRUTH

WHITE = (255, 255, 255)


def written(folder: Path, images: int, box: tuple[float, float, float, float]) -> DatasetFiles:
    """White pictures of 480 x 240, every second with one box."""
    files = DatasetFiles.under(folder, ".json")
    for target, pictures in (
        (files.train_annotations, files.train_images),
        (files.val_annotations, files.val_images),
    ):
        pictures.mkdir()
        split = CocoSplit(("cat", "größe\u4e2d"))
        for index in range(images):
            picture = Image.new("RGB", (480, 240), WHITE)
            picture.putpixel((0, 0), (index, len(target.name), 0))
            picture.save(pictures / f"{index}.png")
            image_id = split.add_image(f"{index}.png", 480, 240)
            if index % 2:
                split.add_box(image_id, index % 4 // 2, box)
        split.write(target)
    return files


def blue(path: Path) -> np.ndarray[tuple[int, ...], np.dtype[np.bool_]]:
    """Where a sheet has the colour of boxes, as far as JPEG keeps it."""
    with Image.open(path) as sheet:
        pixels = np.asarray(sheet.convert("RGB")).astype(int)
    return np.asarray(np.abs(pixels - np.array(TRUTH)).sum(-1) < 70)


def test_a_sheet_shows_as_many_pictures_of_each_split_those_with_boxes_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[tuple[str, int]] = []
    draw = contact_sheet._panel
    monkeypatch.setattr(
        contact_sheet,
        "_panel",
        lambda split, folder, row: (
            drawn.append((split.name, len(split.shown[row.id]))) or draw(split, folder, row)
        ),
    )
    files = written(tmp_path, 60, (48, 24, 240, 120))
    check_dataset(files, sheet=tmp_path / "sheet.jpg")
    assert drawn == [("train", 1)] * 12 + [("val", 1)] * 12
    assert len(drawn) == PICTURES
    assert blue(tmp_path / "sheet.jpg").any()


def test_a_box_is_drawn_where_the_annotation_has_it(tmp_path: Path) -> None:
    files = written(tmp_path, 2, (48, 60, 240, 216))
    check_dataset(files, sheet=tmp_path / "sheet.jpg")
    rows, columns = np.nonzero(blue(tmp_path / "sheet.jpg")[: PANEL + 10, : PANEL + 10])
    left, top = 10, 10 + PANEL // 4  # of the picture, which is half as high as its panel
    assert abs(columns.min() - (left + 24)) <= 2
    assert abs(columns.max() - (left + 120)) <= 2
    assert abs(rows.max() - (top + 108)) <= 2


@pytest.mark.parametrize("box", [[-1e308, -1e308, 1.7e308, 1.7e308], [0, 0, 1e308, 1e-300]])
def test_a_box_of_any_numbers_neither_breaks_the_sheet_nor_the_histogram(
    box: list[float], tmp_path: Path
) -> None:
    files = written(tmp_path, 4, (1, 1, 5, 5))
    content = json.loads(files.train_annotations.read_text())
    for row in content["annotations"]:
        row["bbox"] = box
    files.train_annotations.write_text(json.dumps(content))
    report = check_dataset(files, sheet=tmp_path / "sheet.jpg")
    assert sum(report.train.box_sides.counts) == 2
    assert (tmp_path / "sheet.jpg").exists()


def test_a_data_set_without_a_picture_has_a_sheet_that_says_so(tmp_path: Path) -> None:
    check_dataset(DatasetFiles.under(tmp_path), sheet=tmp_path / "sheet.jpg")
    with Image.open(tmp_path / "sheet.jpg") as sheet:
        assert sheet.format == "JPEG"


def test_pictures_that_do_not_decode_are_passed_over(tmp_path: Path) -> None:
    files = written(tmp_path, 3, (1, 1, 50, 50))
    (files.train_images / "1.png").write_bytes(b"no picture")
    report = check_dataset(files, sheet=tmp_path / "sheet.jpg")
    assert not report.usable
    assert (tmp_path / "sheet.jpg").exists()
