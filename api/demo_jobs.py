"""What the demo trains, per data set: the place to tune its numbers."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class DemoPlan:
    """One data set's teacher and student, in the words of `pgd_core.jobs.spec`."""

    data: tuple[str, ...]  # arguments of `python -m pgd_core.datasets`, before the folder
    teacher: dict[str, Any]  # DetectorSpec
    student: dict[str, Any]  # BackboneSpec
    input: dict[str, Any]  # InputSpec
    teacher_training: dict[str, Any]  # TrainingSpec, without the seed
    student_training: dict[str, Any]
    method: dict[str, Any]  # PgdSpec

    def teacher_job(self, dataset_id: str, seed: int) -> dict[str, Any]:
        """The spec that trains the teacher."""
        return {
            "kind": "train",
            "name": "demo teacher",
            "dataset": dataset_id,
            "model": self.teacher,
            "input": self.input,
            "training": {**self.teacher_training, "seed": seed},
        }

    def distill_job(self, dataset_id: str, teacher_id: str, seed: int) -> dict[str, Any]:
        """The spec that distils the student, with both twins beside it."""
        return {
            "kind": "distill",
            "name": "demo student",
            "dataset": dataset_id,
            "teacher": teacher_id,
            "student": self.student,
            "method": self.method,
            "twins": ["plain", "head_only"],
            "input": self.input,
            "training": {**self.student_training, "seed": seed},
        }


def bfloat16_where_fast() -> str:
    """bfloat16 where this machine's processor computes in it, which halves the teacher's time.

    Students stay in float32: theirs is no faster, and its first gradients are mostly noise.
    """
    try:
        flags = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return "fp32"
    return "bf16" if "avx512_bf16" in flags or "amx_bf16" in flags else "fp32"


SMALL_GFL = {  # of the five detectors the one that learns most in minutes
    "detector": "gfl",
    "backbone": {"name": "resnet18"},
    "head_width": 64,
    "head_convs": 2,
    "norm_groups": 8,
}
TRAINING = {
    "batch_size": 4,
    "optimizer": "adamw",
    "learning_rate": 0.002,
    "learning_rate_batch": None,
    "weight_decay": 0.05,
    "policy": "cosine",
    "warmup_iterations": 100,
    "workers": 1,
    "validation_interval": 2,
}

PLANS = {
    "digits": DemoPlan(
        data=("digits", "--images", "800", "--val-images", "160", "--size", "128"),
        teacher=SMALL_GFL,
        student={"name": "mobilenet_v2", "width": 0.5},
        input={"long_side": 128, "short_side": 128, "flip_probability": 0},  # a mirrored 2 is no 2
        teacher_training={**TRAINING, "epochs": 4, "precision": bfloat16_where_fast()},
        student_training={**TRAINING, "epochs": 3},
        method={"name": "pgd"},
    ),
    "trees": DemoPlan(
        data=("trees", "--size", "128"),
        teacher=SMALL_GFL,
        student={"name": "mobilenet_v2", "width": 0.5},
        input={"long_side": 128, "short_side": 128},
        teacher_training={**TRAINING, "epochs": 3, "precision": bfloat16_where_fast()},
        student_training={**TRAINING, "epochs": 2},
        method={"name": "pgd"},
    ),
}
