"""What a job publishes: weights in two formats, a config, the metrics, and where it came from."""

from __future__ import annotations

import hashlib
import json
import platform
import shutil
from collections.abc import Iterable
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from safetensors.torch import load_file

from pgd_core.detectors import operators, timm_backbone
from pgd_core.detectors.build import detector_config
from pgd_core.jobs.run import OUTPUTS_FOLDER, WORK_FOLDER, RunSpec
from pgd_core.jobs.spec import DetectorSpec
from pgd_core.training.best import WEIGHTS
from pgd_core.training.checkpoints import save_tensors, sha256_of, write_atomically
from pgd_core.training.data import val_pipeline
from pgd_core.training.models import trained_spec
from pgd_core.training.variant import Variant

NAMES = {  # of a variant's files
    "detector": "detector",
    "distilled": "student",
    "plain": "plain_student",
    "head_only": "head_only_student",
}
OPERATORS = "mmcv_operators.py"
TIMM = "timm_backbone"
PACKAGES = (
    "torch",
    "mmdet",
    "mmcv",
    "mmcv-lite",
    "mmengine",
    "numpy",
    "onnx",
    "onnxruntime",
    "pycocotools",
    "scipy",
    "timm",
    "pgd",
)
HEADER = '''\
"""MMDetection config of {name}: `init_detector("{name}_config.py", "{name}.pth")`.

With mmcv-lite, `import mmcv_operators` (the file beside this one) before mmdet; with a compiled
mmcv nothing else is needed.{more}
"""
'''
FOR_TIMM = f"""
Its backbone is timm's (`pip install timm`), by {TIMM}.py beside this file, which the line
`custom_imports` below imports: put this folder on Python's path."""


def write_outputs(
    run: RunSpec,
    variants: list[Variant],
    result: dict[str, Any],
    to: Path,
    more: Iterable[Path] = (),
) -> None:
    """Fill `to`/outputs, `more` files included; the manifest, with every file's checksum, comes
    last."""
    outputs = to / OUTPUTS_FOLDER
    shutil.rmtree(outputs, ignore_errors=True)
    outputs.mkdir(parents=True)
    try:
        _fill(run, variants, result, to, more)
    except BaseException:
        shutil.rmtree(outputs)  # half of them are none, and a disk that is full must not stay so
        raise


def _fill(
    run: RunSpec,
    variants: list[Variant],
    result: dict[str, Any],
    to: Path,
    more: Iterable[Path],
) -> None:
    outputs = to / OUTPUTS_FOLDER
    for variant in variants:
        name = NAMES[variant.name]
        weights = to / WORK_FOLDER / variant.name / WEIGHTS
        write_detector(run, trained_spec(run), weights, outputs, name)
    if variants:
        shutil.copy(operators.__file__, outputs / OPERATORS)
        if trained_spec(run).backbone.timm_name is not None:
            shutil.copy(timm_backbone.__file__, outputs / f"{TIMM}.py")
    for path in more:
        shutil.copy(path, outputs)
    _write_json(outputs / "metrics.json", result)
    _write_json(outputs / "spec.json", run.job.model_dump(mode="json"))
    _write_json(outputs / "manifest.json", _manifest(run, outputs))


def write_detector(
    run: RunSpec, spec: DetectorSpec, weights: Path, outputs: Path, name: str
) -> None:
    """NAME.safetensors, NAME.pth and NAME_config.py, which plain MMDetection loads."""
    shutil.copy(weights, outputs / f"{name}.safetensors")
    meta = {"dataset_meta": {"classes": run.dataset.classes}}
    checkpoint = {"state_dict": load_file(weights), "meta": meta}
    save_tensors(checkpoint, outputs / f"{name}.pth")
    config = inference_config(run, spec)
    more = FOR_TIMM if spec.backbone.timm_name is not None else ""
    text = HEADER.format(name=name, more=more) + config.pretty_text
    path = outputs / f"{name}_config.py"
    write_atomically(path, lambda tmp: tmp.write_text(text, encoding="utf-8"))


def inference_config(run: RunSpec, spec: DetectorSpec) -> Config:
    """A config that needs nothing of this project and no pretrained file."""
    pipeline = val_pipeline(run.input)
    dataset = {
        "type": "CocoDataset",
        "metainfo": {"classes": run.dataset.classes},
        "pipeline": pipeline,
        "test_mode": True,
    }
    files = run.dataset
    model = detector_config(spec, len(files.classes), run.input.size_divisor, files.max_detections)
    imports = {"custom_imports": {"imports": [TIMM]}} if spec.backbone.timm_name else {}
    return Config(
        {
            **imports,
            "default_scope": "mmdet",
            "model": model,
            "test_pipeline": pipeline,
            "test_dataloader": {"batch_size": 1, "dataset": dataset},
        }
    )


def _manifest(run: RunSpec, outputs: Path) -> dict[str, Any]:
    files = sorted(path for path in outputs.iterdir() if path.is_file())
    training = getattr(run.job, "training", None)
    spec = run.job.model_dump_json().encode()
    teacher = run.teacher
    return {
        "files": {p.name: {"size": p.stat().st_size, "sha256": sha256_of(p)} for p in files},
        "spec_sha256": hashlib.sha256(spec).hexdigest(),
        "seed": None if training is None else training.seed,
        "dataset": {"sha256": run.dataset.sha256, "classes": run.dataset.classes},
        "teacher": None
        if teacher is None
        else {"sha256": teacher.sha256, "model": teacher.model.model_dump(mode="json")},
        "versions": {
            "python": platform.python_version(),
            **{package: _version(package) for package in PACKAGES},
        },
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu",
        "created_at": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def _version(package: str) -> str | None:
    """None where it is not installed: of mmcv there is one of two, and we may run unpackaged."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _write_json(path: Path, content: Any) -> None:
    text = json.dumps(content, indent=2, ensure_ascii=False)
    write_atomically(path, lambda tmp: tmp.write_text(text, encoding="utf-8"))
