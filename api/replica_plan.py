"""What `pgd replica` trains, sized to an hour on two cores: the place to tune its numbers."""

from __future__ import annotations

from typing import Any

from api.demo_jobs import TRAINING, bfloat16_where_fast

DATA = ("digits", "--images", "800", "--val-images", "160", "--size", "128")
DETECTORS = ("fcos", "autoassign", "atss", "gfl", "ddod")
OTHERS = {
    "fcos": ("fgd", "defeat", "frs", "fkd"),
    "gfl": ("fgd", "defeat", "frs", "fkd", "fgfi", "ld"),
}
LEARNING_RATE = 0.001  # at 0.002 DDOD's deformable convolutions do not learn
TEACHER_EPOCHS = 5
STUDENT_EPOCHS = 5


def study_spec(dataset: str, seeds: int, seeds_of_all: int) -> dict[str, Any]:
    """All five detectors with PGD, every method on FCOS and GFL, from the same inheritance."""
    training = {**TRAINING, "learning_rate": LEARNING_RATE}
    student_training = {**training, "epochs": STUDENT_EPOCHS, "validation_interval": STUDENT_EPOCHS}
    teacher_training = {
        **training,
        "epochs": TEACHER_EPOCHS,
        "validation_interval": TEACHER_EPOCHS,
        "precision": bfloat16_where_fast(),
    }
    return {
        "kind": "study",
        "name": "replica",
        "dataset": dataset,
        "teachers": {
            detector: {"model": _teacher(detector), "training": teacher_training}
            for detector in DETECTORS
        },
        "student": {"name": "mobilenet_v2", "width": 0.5},
        "inherit_head": True,
        "input": {"long_side": 128, "short_side": 128, "flip_probability": 0},
        "training": student_training,
        "matrices": [
            {
                "teachers": [detector],
                "seeds": list(range(seeds if detector == "fcos" else seeds_of_all)),
                "axes": [{"field": "method", "values": ["pgd", *OTHERS.get(detector, ())]}],
            }
            for detector in DETECTORS
        ],
    }


def _teacher(detector: str) -> dict[str, Any]:
    return {
        "detector": detector,
        "backbone": {"name": "resnet18"},
        "head_width": 64,
        "head_convs": 2,
        "norm_groups": 8,
    }
