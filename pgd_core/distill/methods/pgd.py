"""Prediction-Guided Distillation; its equations fill the folder above."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pgd_core.distill.inputs import Setting
from pgd_core.distill.parameters import PgdParameters
from pgd_core.distill.pgd import PredictionGuidedDistillation


def build(setting: Setting, options: Mapping[str, Any]) -> PredictionGuidedDistillation:
    """PGD with the detector's preset, but for the options that were given."""
    preset = PgdParameters.preset(
        setting.detector,
        setting.backbone_family,
        options.get("profile", "release"),
        dataset=setting.dataset,
    )
    parameters = PgdParameters(**{"alpha": preset.alpha, "tau": preset.tau} | dict(options))
    return PredictionGuidedDistillation(parameters)
