"""What is asked of a registered teacher."""

from __future__ import annotations

from fastapi.openapi.models import Example
from pydantic import Field, field_validator

from api.requests import ID, NO_CONTROL, Name
from pgd_core.jobs.declared import MOST_CLASSES
from pgd_core.jobs.spec import DetectorSpec, EvaluateJob, InputSpec, Strict

CONFIRM_EXAMPLES: dict[str, Example] = {
    "recognised": {"summary": "It is what it was recognised as", "value": {}},
    "classes": {
        "summary": "It is, and these are its classes, in the head's order",
        "value": {"classes": ["cat", "dog"]},
    },
}
EVALUATE_EXAMPLES: dict[str, Example] = {
    "whole": {
        "summary": "On a data set's validation pictures",
        "value": {"dataset": "01990a6e-6c1f-7a52-b1a3-2f3f3c6d9a10"},
    },
    "small": {
        "summary": "On smaller pictures",
        "value": {
            "dataset": "01990a6e-6c1f-7a52-b1a3-2f3f3c6d9a10",
            "name": "at half the size",
            "input": {"long_side": 666, "short_side": 400},
        },
    },
}


class Confirmation(Strict):
    """What an uploaded teacher is; what is left out is as it was recognised, or declared."""

    model: DetectorSpec | None = Field(
        None, description="May differ from what was recognised in what no tensor shows."
    )
    classes: tuple[Name, ...] | None = Field(
        None, min_length=1, max_length=MOST_CLASSES, description="In the head's order."
    )

    @field_validator("classes")
    @classmethod
    def _named_once(cls, classes: tuple[str, ...] | None) -> tuple[str, ...] | None:
        if classes is not None and len(set(classes)) != len(classes):
            raise ValueError("classes names one twice")
        return classes


class Evaluation(Strict):
    """An `evaluate` job of the teacher in the address."""

    dataset: str = Field(pattern=ID, description="Id of a registered data set of its classes.")
    name: str = Field("", max_length=200, pattern=NO_CONTROL, description="For people.")
    input: InputSpec = InputSpec()
    batch_size: int = Field(8, ge=1, le=256)
    workers: int = Field(2, ge=0, le=32)

    def job(self, teacher_id: str) -> EvaluateJob:
        """The job's spec."""
        return EvaluateJob(kind="evaluate", teacher=teacher_id, **dict(self))
