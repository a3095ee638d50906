"""Models that jobs made, and exports of them, by way of the API and a worker's claims."""

from __future__ import annotations

from typing import Any

from tests.api.conftest import World


def model_of(world: World, team: str = "default", **rest: Any) -> dict[str, Any]:
    """A model that a train job of the team made."""
    known = {known.name for known in world.services.teams.teams()}
    if team not in known:
        world.team(team)
    spec = world.train_spec(team, **rest)
    job = world.succeeded({"detector.safetensors": b"weights"}, spec, team=team)
    (model,) = world.http.get("/v1/models", params={"job": job}).json()["items"]
    return dict(model)


def export_of(world: World, model: dict[str, Any], onnx: bytes) -> str:
    """The id of a job that exported the model."""
    spec = {"kind": "export", "dataset": model["dataset_id"], "job": model["job_id"]}
    return world.succeeded({"student-nms.onnx": onnx}, spec, team=model["team"])
