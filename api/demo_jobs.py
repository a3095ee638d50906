"""What the demo trains, per data set: the place to tune its numbers."""

from __future__ import annotations

from dataclasses import dataclass
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


SMALL_FCOS = {
    "detector": "fcos",
    "backbone": {"name": "resnet18"},
    "head_width": 64,
    "head_convs": 2,
    "norm_groups": 8,
}
TRAINING = {
    "batch_size": 8,
    "learning_rate": 0.01,
    "learning_rate_batch": None,
    "warmup_iterations": 100,
    "workers": 1,
}

PLANS = {
    "digits": DemoPlan(
        data=("digits",),
        teacher=SMALL_FCOS,
        student={"name": "mobilenet_v2", "width": 0.5},
        input={"long_side": 160, "short_side": 160},
        teacher_training={**TRAINING, "epochs": 8},
        student_training={**TRAINING, "epochs": 4},
        method={"name": "pgd"},
    ),
    "trees": DemoPlan(
        data=("trees",),
        teacher=SMALL_FCOS,
        student={"name": "mobilenet_v2", "width": 0.5},
        input={"long_side": 256, "short_side": 256},
        teacher_training={**TRAINING, "epochs": 8},
        student_training={**TRAINING, "epochs": 4},
        method={"name": "pgd"},
    ),
}
