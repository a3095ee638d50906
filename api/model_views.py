"""Models: what is taken and what is shown."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field, StringConstraints, model_validator

from api.requests import ID, NO_CONTROL, PageQuery, PoolOrTeam, QueryModel
from api.schemas import View
from pgd_core.jobs.models import MOST_TAGS, Finding
from pgd_core.jobs.spec import Strict

TAG = r"^[a-z0-9][a-z0-9._-]{0,31}$"
NOTES = r"^[^\x00]*$"
Tag = Annotated[str, StringConstraints(pattern=TAG)]
Tags = Annotated[tuple[Tag, ...], Field(max_length=MOST_TAGS)]


class ModelsQuery(PageQuery):
    """Which models."""

    name: str | None = Field(None, min_length=1, max_length=200, pattern=NO_CONTROL)
    tag: str | None = Field(None, pattern=TAG)
    dataset: str | None = Field(None, pattern=ID, description="Trained on this data set.")
    job: str | None = Field(None, pattern=ID, description="Made by this job.")
    team: PoolOrTeam | None = Field(None, description="Default: all that the caller may see.")

    def finding(self, team: str | None) -> Finding:
        """In the domain's words."""
        return Finding(team, self.name, self.tag, self.dataset, self.job)


class ModelChange(Strict):
    """What shall be different about a model; what is left out stays."""

    add_tags: Tags = Field((), description="Small words; what it has already stays.")
    remove_tags: Tags = Field((), description="What it does not have is passed over.")
    notes: str | None = Field(
        None, max_length=4000, pattern=NOTES, description="In the place of those before."
    )

    @model_validator(mode="after")
    def _makes_sense(self) -> ModelChange:
        if not (self.add_tags or self.remove_tags or self.notes is not None):
            raise ValueError("nothing to change; give one of add_tags, remove_tags, notes")
        if both := set(self.add_tags) & set(self.remove_tags):
            raise ValueError(f"{', '.join(sorted(both))} is to be added and removed")
        return self


class ModelView(View):
    """A detector that a job made, and where it came from."""

    id: str
    team: str
    name: str = Field(description="Its job's, else its head and backbone.")
    version: int = Field(description="Counts up by team and name, from 1.")
    kind: Literal["train", "distill"]
    job_id: str = Field(description="The job that made it; its artifacts are the model's files.")
    dataset_id: str
    detector: dict[str, Any] = Field(description="Head and backbone, as a job's spec has them.")
    classes: tuple[str, ...]
    metrics: dict[str, Any] = Field(description="On the validation pictures, percent.")
    cost: dict[str, Any] = Field(description="Parameters, GFLOPs, latency, at which input.")
    gain: dict[str, Any] = Field(description="AP over each undistilled twin, points.")
    size: int = Field(description="Of its weights, bytes.")
    sha256: str = Field(description="Of its weights.")
    lineage: dict[str, Any] = Field(
        description="Teacher and data set with their sha256, the spec's, seed, method, versions."
    )
    export_job: str | None = Field(description="The newest export; predictions are made with it.")
    notes: str
    tags: tuple[str, ...]
    created_at: datetime


class ExportOptions(Strict):
    """How a model is exported; what is left out is the export job's default."""

    name: str = Field("", max_length=200, pattern=NO_CONTROL, description="Default: the model's.")
    dataset: str | None = Field(
        None, pattern=ID, description="Compared with torch on its pictures. Default: the model's."
    )
    score_threshold: float | None = Field(None, ge=0, lt=1)
    iou_threshold: float | None = Field(None, gt=0, le=1)
    max_detections: int | None = Field(None, ge=1, le=1000)
    pictures: int | None = Field(None, ge=1, le=100)


class PredictQuery(QueryModel):
    """What is asked of a picture."""

    score_threshold: float = Field(
        0.3, ge=0, le=1, description="Least score; under the export's own it changes nothing."
    )
    draw: bool = Field(False, description="Answer with the drawn picture, as `Accept: image/png`.")


class FoundView(View):
    """A detection."""

    label: str = Field(description="The class's name.")
    score: float
    box: tuple[float, float, float, float] = Field(
        description="XYXY, pixels of the picture as it was sent, turned as its EXIF entry says."
    )


class Prediction(BaseModel):
    """What a model found in a picture, best first."""

    model: str
    export_job: str = Field(description="Whose ONNX file was asked.")
    found: list[FoundView]
