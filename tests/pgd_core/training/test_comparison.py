from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pgd_core.detectors.build import build_detector
from pgd_core.evaluation.detections import Detections, write_detections
from pgd_core.jobs.run import DatasetFiles, TeacherFile
from pgd_core.training import comparison
from pgd_core.training.comparison import draw_comparison
from pgd_core.training.data import with_prepared_annotations
from pgd_core.training.job import _comparison
from pgd_core.training.progress import Reporter
from pgd_core.training.stopping import StopRequest
from pgd_core.training.variant import Context
from tests.pgd_core.training.runs import CLASSES, digit_files, distill_run, lines


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> DatasetFiles:
    """More validation pictures than a sheet has room for."""
    folder = tmp_path_factory.mktemp("many")
    files = digit_files(folder, images=4, val_images=20)
    return with_prepared_annotations(files, folder)


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The rows of each sheet that is drawn."""
    sheets: list[Any] = []
    draw = comparison.comparison_picture

    def watched(rows: Any, classes: Any, path: Path) -> None:
        sheets.append(rows)
        draw(rows, classes, path)

    monkeypatch.setattr(comparison, "comparison_picture", watched)
    return sheets


def _perfect(files: DatasetFiles, only: range) -> list[Detections]:
    """Every object of these pictures, found."""
    content = json.loads(files.val_annotations.read_bytes())
    truths = comparison._truths(content)
    return [truths[image["id"]] for image in content["images"][only.start : only.stop]]


def _draw(
    files: DatasetFiles,
    teacher: TeacherFile,
    folder: Path,
    distilled: list[Detections],
    plain: list[Detections] | None,
) -> None:
    write_detections(folder / "distilled.npz", distilled, 0.3)
    if plain is not None:
        write_detections(folder / "plain.npz", plain, 0.3)
    draw_comparison(
        distill_run(files, teacher),
        build_detector(teacher.model, len(CLASSES)),
        folder / "distilled.npz",
        None if plain is None else folder / "plain.npz",
        folder / "comparison.png",
    )
    with Image.open(folder / "comparison.png") as sheet:
        assert sheet.format == "PNG"


def test_pictures_where_the_students_differ_are_shown_each_of_them_ahead_somewhere(
    many: DatasetFiles, teachers: dict[str, TeacherFile], tmp_path: Path, drawn: list[Any]
) -> None:
    distilled, plain = _perfect(many, range(12)), _perfect(many, range(11, 13))
    _draw(many, teachers["fcos"], tmp_path, distilled, plain)
    (rows,) = drawn
    assert len(rows) == 6
    assert list(rows[0].columns) == ["teacher", "plain student", "distilled student"]
    notes = [row.note for row in rows]
    assert all(note.startswith("distilled ahead by ") for note in notes[:5])
    assert notes[5].startswith("plain ahead by ")
    for row in rows:  # the detections of a row are of its picture
        assert all(len(found.scores) <= 100 for found in row.columns.values())
        assert row.truth.image_id in {f.image_id for f in row.columns.values()}


def test_without_a_plain_twin_pictures_are_spread_evenly(
    many: DatasetFiles, teachers: dict[str, TeacherFile], tmp_path: Path, drawn: list[Any]
) -> None:
    _draw(many, teachers["fcos"], tmp_path, _perfect(many, range(3)), None)
    (rows,) = drawn
    assert list(rows[0].columns) == ["teacher", "distilled student"]
    shown = [row.truth.image_id for row in rows]
    content = json.loads(many.val_annotations.read_bytes())
    assert shown == sorted(image["id"] for image in content["images"])[::4]
    assert {row.note for row in rows} == {""}


def test_students_that_never_differ_and_find_nothing_are_shown_too(
    many: DatasetFiles, teachers: dict[str, TeacherFile], tmp_path: Path, drawn: list[Any]
) -> None:
    _draw(many, teachers["fcos"], tmp_path, [], [])
    assert len(drawn[0]) == 5
    assert all(len(row.columns["plain student"].scores) == 0 for row in drawn[0])


def test_a_picture_is_shown_the_way_up_that_its_camera_noted(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # a quarter turn
    Image.fromarray(np.zeros((20, 40, 3), np.uint8)).save(tmp_path / "p.jpg", exif=exif)
    assert comparison._opened(tmp_path / "p.jpg").size == (20, 40)


def test_a_comparison_that_cannot_be_drawn_is_told_and_fails_no_training(
    many: DatasetFiles, teachers: dict[str, TeacherFile], tmp_path: Path
) -> None:
    """Such as after an earlier release, which kept no detections."""
    teacher = build_detector(teachers["fcos"].model, len(CLASSES))
    reporter = Reporter(tmp_path / "progress.jsonl")
    stop = StopRequest(tmp_path)
    run = distill_run(many, teachers["fcos"])
    assert _comparison(Context(run, tmp_path, reporter, stop, teacher)) == []
    assert "no comparison could be drawn" in lines(tmp_path, "stage")[0]["message"]
