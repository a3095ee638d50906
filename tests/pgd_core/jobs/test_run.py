from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from pgd_core.jobs.run import DatasetFiles, RunSpec

DATASET = DatasetFiles(
    train_annotations=Path("train.json"),
    train_images=Path("train"),
    val_annotations=Path("val.json"),
    val_images=Path("val"),
    classes=("cat",),
    sha256="0" * 64,
)


@pytest.mark.parametrize(
    "job",
    [
        {"kind": "evaluate", "dataset": "d", "teacher": "t"},
        {"kind": "analyse", "dataset": "d", "teacher": "t"},
        {"kind": "distill", "dataset": "d", "teacher": "t", "student": {"name": "resnet18"}},
    ],
)
def test_a_job_that_needs_a_teacher_is_refused_without_one(job: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match=f"'{job['kind']}' needs a teacher"):
        RunSpec.model_validate({"job": job, "dataset": DATASET.model_dump()})
