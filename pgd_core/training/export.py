"""A job of kind `export`: a detector for use without torch, compared with torch before it counts.

student.onnx              the prediction at every position: boxes and scores, no NMS
student-nms.onnx          threshold, top-k and class-wise NMS in the graph
student-fp16.safetensors  the weights at half their size
infer.py                  a picture's boxes with onnxruntime, numpy and Pillow
export.json               inputs, outputs, classes, preprocessing, agreement with torch, latency

The names are the same for a registered teacher: it is a student of nobody.
"""

from __future__ import annotations

import json
import shutil
import statistics
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any, cast

import numpy as np
import onnxruntime
from mmengine import dist
from safetensors.torch import save_file
from torch import nn

from pgd_core.detectors.build import PIXEL_MEAN, PIXEL_STD
from pgd_core.detectors.onnx_file import OPSET, write_complete, write_dense
from pgd_core.detectors.onnx_model import CompleteDetector, DenseDetector, Selection
from pgd_core.errors import ExportFailed, InvalidSpec
from pgd_core.jobs.run import WORK_FOLDER
from pgd_core.jobs.spec import ExportJob, InputSpec
from pgd_core.predict import infer
from pgd_core.training.export_check import TOLERANCE, compare, few_pictures
from pgd_core.training.variant import Context

DENSE, COMPLETE, HALF = "student.onnx", "student-nms.onnx", "student-fp16.safetensors"
PASSES = 10  # timed

OUTPUTS = {
    DENSE: "images (N, 3, H, W) float32 → boxes (N, A, 4), scores (N, A, C): the prediction at "
    "every position A, boxes XYXY in pixels of the images",
    COMPLETE: "images, image_sizes (N, 2) int64 (height, width without padding) → boxes (N, D, 4), "
    "scores (N, D), labels (N, D), counts (N,): of each picture the first `counts` rows are boxes, "
    "best first; the rest is 0, label -1",
}


def export_files(folder: Path) -> list[Path]:
    """What an export left in an attempt's folder; nothing where there was none."""
    return sorted((folder / WORK_FOLDER / "export").glob("*"))


def export(context: Context, job: ExportJob) -> dict[str, Any]:
    """Write the files and compare them; returns what metrics.json says.

    Raises ExportFailed when the detector has no graph, or one that does not find the same.
    """
    if context.teacher is None:
        raise InvalidSpec("a job of kind 'export' needs a detector; give its file")
    if not dist.is_main_process():  # nothing here is faster on several
        return {}
    to = context.folder / WORK_FOLDER / "export"
    shutil.rmtree(to, ignore_errors=True)
    to.mkdir(parents=True)
    detector = context.teacher.cpu()
    selection = _selection(context, job, detector)
    about = _about(context, selection)
    context.reporter.stage("writing ONNX")
    dense = DenseDetector(detector)
    write_dense(dense, to / DENSE, about)
    write_complete(CompleteDetector(dense, selection), to / COMPLETE, about)
    _write_half(detector, to / HALF)
    shutil.copy(infer.__file__, to / "infer.py")
    context.stop.check_alone()
    context.reporter.stage("comparing with torch", done=0.3)
    files = few_pictures(context.run.dataset, job.pictures, to.parent / "compared.json")
    dense_file, complete_file = (
        onnxruntime.InferenceSession(to / name) for name in (DENSE, COMPLETE)
    )
    agreement = compare(detector, dense_file, complete_file, files, context.run.input)
    agreement.check()
    context.stop.check_alone()
    context.reporter.stage("measuring the time", done=0.9)
    told = {
        **about,
        "opset": OPSET,
        "outputs": OUTPUTS,
        "agreement": {"tolerance": TOLERANCE, **asdict(agreement)},
        "latency": _latency(complete_file, context.run.input),
        "sizes": {name: (to / name).stat().st_size for name in (DENSE, COMPLETE, HALF)},
    }
    (to / "export.json").write_text(json.dumps(told, indent=2, ensure_ascii=False))
    return {"export": told}


def _selection(context: Context, job: ExportJob, detector: nn.Module) -> Selection:
    """The job's, which the detector in torch is told too, so that both can be compared."""
    rules = cast(Any, detector).bbox_head.test_cfg
    rules.score_thr = job.score_threshold
    rules.nms.iou_threshold = job.iou_threshold or rules.nms.iou_threshold
    rules.max_per_img = job.max_detections or context.run.dataset.max_detections
    return Selection(rules.score_thr, rules.nms.iou_threshold, rules.max_per_img, rules.nms_pre)


def _about(context: Context, selection: Selection) -> dict[str, Any]:
    """What whoever runs the files must know; it is in the files too."""
    spec, teacher = context.run.input, context.run.teacher
    assert teacher is not None
    return {
        "model": teacher.model.model_dump(mode="json"),
        "weights_sha256": teacher.sha256,
        "classes": list(context.run.dataset.classes),
        "preprocessing": {
            "long_side": spec.long_side,
            "short_side": spec.short_side,
            "resize": "bilinear, aspect ratio kept, as large as both sides allow",
            "channels": "RGB",
            "mean": PIXEL_MEAN,
            "std": PIXEL_STD,
            "size_divisor": spec.size_divisor,
            "padding": "zeros below and right, after normalisation",
        },
        "selection": asdict(selection),
    }


def _write_half(detector: nn.Module, path: Path) -> None:
    tensors = {
        name: (value.half() if value.is_floating_point() else value).contiguous()
        for name, value in detector.state_dict().items()
    }
    over = [name for name, value in tensors.items() if not value.isfinite().all()]
    if over:
        raise ExportFailed(f"{over[0]} holds values over 65504, which float16 has not")
    save_file(tensors, path)


def _latency(session: onnxruntime.InferenceSession, spec: InputSpec) -> dict[str, Any]:
    """Of one picture of the largest size, on this machine's processor."""
    height, width = (
        -(-side // spec.size_divisor) * spec.size_divisor
        for side in (spec.short_side, spec.long_side)
    )
    images = np.zeros((1, 3, height, width), np.float32)
    inputs = {"images": images, "image_sizes": np.array([[height, width]])}
    times = []
    for _ in range(PASSES + 1):  # the first warms up
        start = time.perf_counter()
        session.run(None, inputs)
        times.append(time.perf_counter() - start)
    return {
        "median_ms": 1000 * statistics.median(times[1:]),
        "input_height": height,
        "input_width": width,
        "onnxruntime": onnxruntime.__version__,
    }
