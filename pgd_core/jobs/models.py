"""Models: the detector that each succeeded train or distill job made, with where it came from."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from pgd_core.jobs.detector import OF_TIMM
from pgd_core.jobs.graduates import WEIGHTS
from pgd_core.jobs.job import Artifact, Dataset, Job, Teacher

COMPLETE_ONNX = "student-nms.onnx"  # of an export: what predictions are made with
MOST_TAGS = 20
VARIANTS = {"train": "detector", "distill": "distilled"}  # of a job's result


@dataclass(frozen=True)
class Model:
    """A detector that is registered."""

    id: str
    team: str
    name: str
    version: int  # counts up per team and name, from 1
    job_id: str  # the job that made it, and holds its files
    kind: str  # train or distill
    dataset_id: str
    detector: dict[str, Any]  # `DetectorSpec`; empty where its teacher is not known any more
    classes: tuple[str, ...]
    lineage: dict[str, Any]  # what it was made from: see `lineage_of`
    metrics: dict[str, Any]  # on the data set's validation pictures, percent
    cost: dict[str, Any]  # parameters, gflops, latency_ms, at which input
    gain: dict[str, Any]  # AP over each of its twins, points
    size: int  # of its weights, bytes
    sha256: str  # of its weights
    export_job: str | None  # the newest succeeded export of it
    notes: str
    tags: tuple[str, ...]  # by alphabet
    created_at: datetime

    @property
    def title(self) -> str:
        """For people: "street, light v3"."""
        return f"{self.name} v{self.version}"


@dataclass(frozen=True)
class Finding:
    """Which models."""

    team: str | None = None
    name: str | None = None
    tag: str | None = None
    dataset_id: str | None = None
    job_id: str | None = None


class ModelStore(Protocol):
    """The registry. A model is registered by `JobStore.finish`, with its job's success."""

    def model(self, model_id: str) -> Model: ...
    def models(
        self, which: Finding = ..., *, after: str | None = None, limit: int = 50
    ) -> Sequence[Model]:
        """Newest first; `after` is the last id of the page before."""

    def change(
        self,
        model_id: str,
        *,
        add_tags: Collection[str] = (),
        remove_tags: Collection[str] = (),
        notes: str | None = None,
    ) -> Model:
        """What is left out stays. InvalidSpec for more than MOST_TAGS tags."""

    def unregister(self, model_id: str) -> None:
        """No model any more; its version is not given again, its job keeps its files."""


def weights_of(job: Job, artifacts: Sequence[Artifact]) -> Artifact | None:
    """The weights of the detector that the job made; None where it made none."""
    name = WEIGHTS.get(job.kind)
    return next((artifact for artifact in artifacts if artifact.name == name), None)


def described(
    job: Job,  # of kind train or distill, succeeded
    dataset: Dataset | None,
    teacher: Teacher | None,
    versions: Mapping[str, Any],  # of the software that ran it
) -> dict[str, Any]:
    """What the job's row says of its model, by the names of `Model`.

    Nothing in here may fail on an odd spec or result: the job's own end would fail with it.
    """
    detector = _detector(job.spec, teacher)
    result = job.result.get(VARIANTS[job.kind])
    found = result if isinstance(result, dict) else {}
    return {
        "team": job.team,
        "name": job.name.strip() or _default_name(detector, job.spec),
        "job_id": job.id,
        "kind": job.kind,
        "dataset_id": str(job.spec.get("dataset", "")),
        "detector": detector,
        "classes": [] if dataset is None else list(dataset.classes),
        "lineage": lineage_of(job, dataset, teacher, versions),
        "metrics": _mapping(found.get("metrics")),
        "cost": _mapping(found.get("cost")),
        "gain": _mapping(job.result.get("gain")),
    }


def lineage_of(
    job: Job, dataset: Dataset | None, teacher: Teacher | None, versions: Mapping[str, Any]
) -> dict[str, Any]:
    """What the model was made from, as it was when its job ended."""
    measured = _mapping(job.result.get("teacher"))
    return {
        "dataset": None
        if dataset is None
        else {
            "id": dataset.id,
            "name": dataset.name,
            "version": dataset.version,
            "sha256": dataset.sha256,
        },
        "teacher": None
        if teacher is None
        else {
            "id": teacher.id,
            "name": teacher.name,
            "sha256": teacher.sha256,
            "source_job": teacher.source_job,
            "metrics": _mapping(measured.get("metrics")),
        },
        "spec_sha256": job.spec_sha256,
        "seed": _mapping(job.spec.get("training")).get("seed"),
        "method": _mapping(job.spec.get("method")).get("name"),
        "versions": dict(versions),
    }


def _detector(spec: Mapping[str, Any], teacher: Teacher | None) -> dict[str, Any]:
    """A student is its teacher's detector on a backbone of its own."""
    if "model" in spec:
        return _mapping(spec["model"])
    return {} if teacher is None else {**teacher.model, "backbone": _mapping(spec.get("student"))}


def _default_name(detector: Mapping[str, Any], spec: Mapping[str, Any]) -> str:
    backbone = _mapping(detector.get("backbone") or spec.get("student"))
    name = str(backbone.get("name", "detector")).removeprefix(OF_TIMM)
    head = detector.get("detector")
    return name if head is None else f"{head}-{name}"


def _mapping(value: object) -> dict[str, Any]:
    return dict(value) if isinstance(value, Mapping) else {}
