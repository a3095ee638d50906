"""A whole job of kind `analyse` at toy size, in this process."""

from __future__ import annotations

import csv
import json
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from pgd_core.detectors.build import build_detector
from pgd_core.errors import StoppedBySignal
from pgd_core.jobs.run import DatasetFiles, RunSpec, TeacherFile
from pgd_core.jobs.spec import InputSpec
from pgd_core.training.checkpoints import sha256_of
from pgd_core.training.data import category_ids, val_loader
from pgd_core.training.job import run_job
from pgd_core.training.models import load_teacher
from pgd_core.training.validation import predict
from tests.pgd_core.detectors.batches import small_spec
from tests.pgd_core.training.runs import CLASSES, INPUT, digit_files, lines

PICTURES = ("quality_heat.png", "strategy_masks.png", "hide_curve.png", "objects.png")


@pytest.fixture(autouse=True)
def _signals() -> Any:
    """A job takes SIGTERM for itself; pytest gets it back."""
    before = {n: signal.getsignal(n) for n in (signal.SIGTERM, signal.SIGINT)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture(scope="module")
def seeing(tmp_path_factory: pytest.TempPathFactory) -> TeacherFile:
    """A random teacher that finds much."""
    torch.manual_seed(3)
    model: Any = build_detector(small_spec("gfl"), len(CLASSES))
    for convs in (model.bbox_head.gfl_cls, model.bbox_head.gfl_reg):
        torch.nn.init.normal_(convs.weight, std=0.2)
        torch.nn.init.zeros_(convs.bias)
    path = tmp_path_factory.mktemp("seeing") / "teacher.safetensors"
    save_file({k: v.contiguous() for k, v in model.state_dict().items()}, path)
    return TeacherFile(
        weights=path, sha256=sha256_of(path), model=small_spec("gfl"), classes=CLASSES
    )


@pytest.fixture(scope="module")
def files(seeing: TeacherFile, tmp_path_factory: pytest.TempPathFactory) -> DatasetFiles:
    """Four pictures whose objects are what the teacher finds best, and one without objects."""
    files = digit_files(tmp_path_factory.mktemp("digits"), images=2, val_images=5)
    size = InputSpec.model_validate(INPUT)
    found = predict(
        load_teacher(seeing, CLASSES, size.size_divisor),
        val_loader(files, size, batch_size=5, workers=0),
        category_ids(files.val_annotations),
    )
    content = json.loads(files.val_annotations.read_bytes())
    content["annotations"] = [
        {
            "id": 3 * number + best + 1,
            "image_id": of_image.image_id,
            "category_id": int(of_image.category_ids[best]),
            "bbox": [x1, y1, x2 - x1, y2 - y1],
        }
        for number, of_image in enumerate(found)
        for best in range(3)
        if number != 1
        for x1, y1, x2, y2 in [of_image.boxes[best].tolist()]
    ]
    files.val_annotations.write_text(json.dumps(content))
    return files


def _run(kind: str, files: DatasetFiles, teacher: TeacherFile, **more: Any) -> RunSpec:
    job = {"kind": kind, "dataset": "d", "teacher": "t", "input": INPUT, "workers": 0, **more}
    job["batch_size"] = 2
    return RunSpec.model_validate(
        {
            "job": job,
            "dataset": files.model_dump(),
            "teacher": teacher.model_dump(),
            "device": "cpu",
        }
    )


def test_a_teacher_is_analysed_and_everything_is_published(
    files: DatasetFiles, seeing: TeacherFile, tmp_path: Path
) -> None:
    result = run_job(
        _run("analyse", files, seeing, pictures=1, hide_percents=[0, 10, 100]), tmp_path / "a"
    )
    plain = run_job(_run("evaluate", files, seeing), tmp_path / "e")
    outputs = tmp_path / "a" / "outputs"
    assert json.loads((outputs / "metrics.json").read_bytes()) == result
    manifest = json.loads((outputs / "manifest.json").read_bytes())["files"]
    assert {*PICTURES, "hide_curve.csv", "objects.csv", "metrics.json", "spec.json"} == set(
        manifest
    )
    for name in PICTURES:
        with Image.open(outputs / name) as picture:
            assert min(picture.size) > 300

    assert result["detector"]["metrics"] == plain["detector"]["metrics"]
    analysis = result["analysis"]
    for among in ("boxes", "picture"):
        first, *_, last = analysis["hide"][among]
        assert first["AP"] == plain["detector"]["metrics"]["AP"] > last["AP"]
        assert (first["hidden_positions"], last["hidden_percent"]) == (0, 100)
    assert analysis["hide"]["picture"][-1]["AP"] == 0  # nothing is left to find
    with (outputs / "hide_curve.csv").open() as file:
        assert [row["percent"] for row in csv.DictReader(file)] == ["0.0", "10.0", "100.0"] * 2

    objects = len(json.loads(files.val_annotations.read_bytes())["annotations"])
    assert analysis["objects"]["cls"]["all"]["objects"] == objects
    with (outputs / "objects.csv").open() as file:
        assert len(list(csv.DictReader(file))) == 2 * objects
    assert len(analysis["drawn_images"]) == 1
    empty = json.loads(files.val_annotations.read_bytes())["images"][1]["id"]
    assert empty not in analysis["drawn_images"]

    said = [line for line in lines(tmp_path / "a", "stage") if line["done"] > 0]
    assert [line["done"] for line in said] == sorted(line["done"] for line in said)
    assert said[0]["eta_s"] is not None


def test_a_data_set_without_any_object_is_analysed_too(
    files: DatasetFiles, seeing: TeacherFile, tmp_path: Path
) -> None:
    content = json.loads(files.val_annotations.read_bytes())
    bare = tmp_path / "val.json"
    bare.write_text(json.dumps({**content, "annotations": []}))
    run = _run(
        "analyse", files.model_copy(update={"val_annotations": bare}), seeing, hide_percents=[0, 5]
    )
    result = run_job(run, tmp_path / "job")
    assert [row["AP"] for row in result["analysis"]["hide"]["boxes"]] == [None, None]
    assert result["analysis"]["objects"]["cls"]["all"]["objects"] == 0
    published = {path.name for path in (tmp_path / "job" / "outputs").iterdir()}
    assert "objects.csv" in published
    assert "quality_heat.png" not in published  # no picture to draw


def test_an_analysis_that_is_asked_to_stop_stops(
    files: DatasetFiles, seeing: TeacherFile, tmp_path: Path
) -> None:
    (tmp_path / "stop").touch()
    with pytest.raises(StoppedBySignal):
        run_job(_run("analyse", files, seeing), tmp_path)
    assert not any(line["message"] == "drawing" for line in lines(tmp_path, "stage"))
