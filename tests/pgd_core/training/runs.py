"""Tiny jobs for the tests of this folder: a few digit scenes, a narrow detector, a few steps."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pgd_core.datasets.digits import write_digit_scenes
from pgd_core.jobs.run import DatasetFiles, RunSpec, TeacherFile
from pgd_core.jobs.spec import DetectorSpec
from tests.pgd_core.detectors.batches import small_spec

CLASSES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")


def digit_files(folder: Path, images: int = 12, val_images: int = 4) -> DatasetFiles:
    """A checked data set of 64-pixel scenes."""
    files = write_digit_scenes(folder, images=images, val_images=val_images, size=64, seed=1)
    return DatasetFiles(
        train_annotations=files.train_annotations,
        train_images=files.train_images,
        val_annotations=files.val_annotations,
        val_images=files.val_images,
        classes=CLASSES,
        sha256="0" * 64,
    )


def training(**more: Any) -> dict[str, Any]:
    """Six steps of four pictures, validated after each epoch of three."""
    return {
        "epochs": 2,
        "batch_size": 4,
        "learning_rate": 0.01,
        "learning_rate_batch": None,
        "warmup_iterations": 2,
        "workers": 0,
        **more,
    }


INPUT = {"long_side": 64, "short_side": 64}


def narrow_spec(detector: str = "fcos") -> DetectorSpec:
    """The narrowest detector there is."""
    return small_spec(detector, "mobilenet_v2", width=0.25)


def train_run(files: DatasetFiles, model: DetectorSpec | None = None, **more: Any) -> RunSpec:
    """A job of kind `train`."""
    job = {
        "kind": "train",
        "dataset": "d",
        "model": (model or narrow_spec()).model_dump(mode="json"),
        "input": INPUT,
        "training": training(**more),
    }
    return RunSpec.model_validate({"job": job, "dataset": files.model_dump(), "device": "cpu"})


def distill_run(
    files: DatasetFiles,
    teacher: TeacherFile,
    training_more: dict[str, Any] | None = None,
    **more: Any,
) -> RunSpec:
    """A job of kind `distill` with a MobileNetV2 of quarter width."""
    job = {
        "kind": "distill",
        "dataset": "d",
        "teacher": "t",
        "student": {"name": "mobilenet_v2", "width": 0.25},
        "input": INPUT,
        "training": training(**(training_more or {})),
        **more,
    }
    return RunSpec.model_validate(
        {
            "job": job,
            "dataset": files.model_dump(),
            "teacher": teacher.model_dump(),
            "device": "cpu",
        }
    )


def lines(folder: Path, kind: str) -> list[dict[str, Any]]:
    """The progress lines of one type."""
    content = (folder / "progress.jsonl").read_text().splitlines()
    return [line for line in map(json.loads, content) if line["type"] == kind]


def losses(folder: Path, variant: str) -> dict[int, dict[str, float]]:
    """Loss terms by step, of the last time each step was made."""
    return {
        line["iteration"]: {**line["losses"], **line["distillation_losses"]}
        for line in lines(folder, "train")
        if line["variant"] == variant
    }
