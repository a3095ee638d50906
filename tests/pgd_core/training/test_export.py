"""A whole job of kind `export` at toy size: five detectors, real digits, beside torch."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from pgd_core.detectors.build import build_detector
from pgd_core.errors import ExportFailed, StoppedBySignal
from pgd_core.jobs.run import DatasetFiles, RunSpec, TeacherFile
from pgd_core.jobs.spec import DetectorSpec, InputSpec
from pgd_core.training import export as exporting
from pgd_core.training.checkpoints import sha256_of
from pgd_core.training.data import category_ids, val_loader
from pgd_core.training.job import run_job
from pgd_core.training.models import load_teacher
from pgd_core.training.validation import predict
from tests.pgd_core.detectors.batches import make_seeing, small_spec
from tests.pgd_core.training.runs import CLASSES, INPUT, narrow_spec

PUBLISHED = {
    "export.json",
    "infer.py",
    "metrics.json",
    "spec.json",
    "student-fp16.safetensors",
    "student-nms.onnx",
    "student.onnx",
}
BLOCKED = ("torch", "torchvision", "mmdet", "mmcv", "mmengine", "cv2", "scipy", "safetensors")


@pytest.fixture(autouse=True)
def _signals() -> Any:
    """A job takes SIGTERM for itself; pytest gets it back."""
    before = {n: signal.getsignal(n) for n in (signal.SIGTERM, signal.SIGINT)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def _teacher(folder: Path, model: DetectorSpec) -> TeacherFile:
    """With random weights, that finds much."""
    torch.manual_seed(3)
    detector = make_seeing(build_detector(model, len(CLASSES)))
    path = folder / "teacher.safetensors"
    save_file({k: v.contiguous() for k, v in detector.state_dict().items()}, path)
    return TeacherFile(weights=path, sha256=sha256_of(path), model=model, classes=CLASSES)


def _run(files: DatasetFiles, teacher: TeacherFile, **more: Any) -> RunSpec:
    job = {"kind": "export", "dataset": "d", "teacher": "t", "input": INPUT, "pictures": 4, **more}
    return RunSpec.model_validate(
        {
            "job": job,
            "dataset": files.model_dump(),
            "teacher": teacher.model_dump(),
            "device": "cpu",
        }
    )


@pytest.fixture(scope="module")
def gfl(tmp_path_factory: pytest.TempPathFactory) -> TeacherFile:
    return _teacher(tmp_path_factory.mktemp("gfl"), narrow_spec("gfl"))


@pytest.fixture(scope="module")
def outputs(
    files: DatasetFiles, gfl: TeacherFile, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """Of a job that exported GFL."""
    folder = tmp_path_factory.mktemp("job")
    run_job(_run(files, gfl), folder)
    return folder / "outputs"


@pytest.mark.parametrize(
    ("detector", "backbone"),
    [
        ("fcos", "mobilenet_v2"),
        ("autoassign", "resnet18"),
        ("atss", "timm/mobilenetv3_small_050"),
        ("ddod", "mobilenet_v2"),
    ],
)
def test_every_detector_finds_the_same_in_onnx(
    detector: str, backbone: str, files: DatasetFiles, tmp_path: Path
) -> None:
    teacher = _teacher(tmp_path, small_spec(detector, backbone))

    told = run_job(_run(files, teacher, pictures=3), tmp_path / "job")["export"]["agreement"]

    assert told["pictures"] == 9  # each in batches of one, two and three, at three sizes
    assert told["detections"] > 50
    assert told["unmatched"] == 0
    assert max(told["max_box_difference"], told["max_score_difference"]) < 1e-4


def test_everything_is_published_with_what_its_user_must_know(
    outputs: Path, gfl: TeacherFile
) -> None:
    assert set(json.loads((outputs / "manifest.json").read_bytes())["files"]) == PUBLISHED
    told = json.loads((outputs / "export.json").read_bytes())
    assert json.loads((outputs / "metrics.json").read_bytes()) == {"export": told}
    assert told["classes"] == list(CLASSES)
    assert told["weights_sha256"] == gfl.sha256
    assert told["latency"]["median_ms"] > 0
    assert told["selection"]["iou_threshold"] == 0.6
    for name in ("student.onnx", "student-nms.onnx"):
        known = onnxruntime.InferenceSession(outputs / name).get_modelmeta().custom_metadata_map
        assert json.loads(known["preprocessing"]) == told["preprocessing"]
        assert json.loads(known["classes"]) == told["classes"]


def test_half_precision_weights_are_the_detector_s_rounded(outputs: Path, gfl: TeacherFile) -> None:
    half, whole = load_file(outputs / "student-fp16.safetensors"), load_file(gfl.weights)
    assert half.keys() == whole.keys()
    for name, value in whole.items():
        assert half[name].dtype == (torch.float16 if value.is_floating_point() else value.dtype)
        torch.testing.assert_close(half[name].to(value), value, rtol=1e-3, atol=1e-6)


def _torch_finds(teacher: TeacherFile, files: DatasetFiles, size: InputSpec) -> Any:
    """In the first validation picture: boxes in its own pixels, best first."""
    model = load_teacher(teacher, CLASSES, size.size_divisor)
    loader = val_loader(files, size, batch_size=1, workers=0)
    return predict(model, loader, category_ids(files.val_annotations))[0]


def test_the_example_finds_torch_s_boxes_where_torch_cannot_be_imported(
    outputs: Path, gfl: TeacherFile, files: DatasetFiles, tmp_path: Path
) -> None:
    entry = json.loads(files.val_annotations.read_bytes())["images"][0]
    picture = tmp_path / "picture.png"
    with Image.open(files.val_images / entry["file_name"]) as image:
        image.convert("RGB").save(picture)
    code = (
        f"import runpy, sys\nfor name in {BLOCKED}: sys.modules[name] = None\n"
        f"sys.argv = ['infer.py', {str(picture)!r}]\n"
        f"runpy.run_path({str(outputs / 'infer.py')!r}, run_name='__main__')"
    )
    finished = subprocess.run(
        [sys.executable, "-I", "-c", code], capture_output=True, text=True, cwd=tmp_path
    )
    assert finished.returncode == 0, finished.stderr

    rows = [line.split("  ") for line in finished.stdout.splitlines()]
    wanted = _torch_finds(gfl, files, InputSpec.model_validate(INPUT))
    ids = category_ids(files.val_annotations)
    assert len(rows) == len(wanted.scores) > 5
    scores, names, boxes = zip(*rows, strict=True)
    np.testing.assert_allclose(np.array(scores, float), wanted.scores, atol=1e-3)
    np.testing.assert_allclose([json.loads(box) for box in boxes], wanted.boxes, atol=0.06)
    assert list(names) == [CLASSES[ids.index(number)] for number in wanted.category_ids]
    with Image.open(tmp_path / "picture.found.png") as drawn, Image.open(picture) as plain:
        assert drawn.size == plain.size
        assert drawn.tobytes() != plain.tobytes()


def test_a_picture_that_is_resized_and_padded_is_found_in_as_by_torch(
    gfl: TeacherFile, files: DatasetFiles, tmp_path: Path
) -> None:
    """To within what OpenCV's and Pillow's rounding of a resized pixel changes."""
    size = InputSpec(long_side=150, short_side=90)
    job = _run(files, gfl, pictures=1, input=size.model_dump())
    run_job(job, tmp_path)
    entry = json.loads(files.val_annotations.read_bytes())["images"][0]
    from pgd_core.predict.infer import detect

    session = onnxruntime.InferenceSession(tmp_path / "outputs" / "student-nms.onnx")
    with Image.open(files.val_images / entry["file_name"]) as image:
        found = detect(session, image.convert("RGB"))
    wanted = _torch_finds(gfl, files, size)
    np.testing.assert_allclose([score for _, score, _ in found[:5]], wanted.scores[:5], atol=0.02)
    np.testing.assert_allclose([box for box, _, _ in found[:5]], wanted.boxes[:5], atol=1)


def test_a_file_that_does_not_agree_with_torch_fails_the_job(
    files: DatasetFiles, gfl: TeacherFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Shifted(exporting.DenseDetector):
        def look(self, images: torch.Tensor) -> Any:
            boxes, *rest = super().look(images)
            return (boxes + 0.5, *rest)

    monkeypatch.setattr(exporting, "DenseDetector", Shifted)
    with pytest.raises(ExportFailed, match="differs from torch"):
        run_job(_run(files, gfl), tmp_path)
    assert not (tmp_path / "outputs").exists()


def test_a_size_frozen_into_the_graph_fails_the_job(
    files: DatasetFiles, gfl: TeacherFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Frozen(exporting.DenseDetector):
        def look(self, images: torch.Tensor) -> Any:
            return super().look(images[:2])

    monkeypatch.setattr(exporting, "DenseDetector", Frozen)
    with pytest.raises(ExportFailed, match="for 3 pictures of 32 x 32"):
        run_job(_run(files, gfl), tmp_path)


def test_a_detector_whose_weights_float16_cannot_hold_is_refused(
    files: DatasetFiles, tmp_path: Path
) -> None:
    teacher = _teacher(tmp_path, narrow_spec())
    weights = load_file(teacher.weights)
    weights["bbox_head.conv_cls.bias"][0] = 1e6
    save_file(weights, teacher.weights)
    teacher = teacher.model_copy(update={"sha256": sha256_of(teacher.weights)})
    with pytest.raises(ExportFailed, match=r"conv_cls\.bias holds values over 65504"):
        run_job(_run(files, teacher), tmp_path / "job")


def test_an_export_that_is_asked_to_stop_stops(
    files: DatasetFiles, gfl: TeacherFile, tmp_path: Path
) -> None:
    (tmp_path / "stop").touch()
    with pytest.raises(StoppedBySignal):
        run_job(_run(files, gfl), tmp_path)
