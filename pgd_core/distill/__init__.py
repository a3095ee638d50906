"""Distillation methods as functions of tensors: what to distil, where, and how strongly.

Knows torch and this project's errors only; detectors hand over plain tensors (`inputs`).
"""

from pgd_core.distill.inputs import (
    DetectorView,
    GroundTruth,
    Scene,
    Setting,
    TeacherPredictions,
    TowerFeatures,
)
from pgd_core.distill.parameters import BRANCHES, STRATEGIES, PgdParameters
from pgd_core.distill.pgd import PredictionGuidedDistillation
from pgd_core.distill.profiles import Profile

__all__ = [
    "BRANCHES",
    "STRATEGIES",
    "DetectorView",
    "GroundTruth",
    "PgdParameters",
    "PredictionGuidedDistillation",
    "Profile",
    "Scene",
    "Setting",
    "TeacherPredictions",
    "TowerFeatures",
]
