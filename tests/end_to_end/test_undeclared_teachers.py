"""A checkpoint of plain MMDetection, of which nobody says what it is, becomes a teacher."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console

from api.client import ApiError, Client
from api.demo import key_in, service
from pgd_core.datasets.digits import write_digit_scenes

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("e2e")
    write_digit_scenes(folder / "data", images=12, val_images=4, size=64, seed=1)
    return folder


@pytest.fixture(scope="module")
def checkpoint(folder: Path) -> Path:
    """As MMDetection's own loop leaves it: optimizer, message hub, config and all."""
    command = [sys.executable, "-m", "tests.end_to_end.plain_mmdetection"]
    trained = [*command, str(folder / "data"), str(folder / "work")]
    subprocess.run(trained, check=True, capture_output=True, cwd=ROOT)
    return folder / "work" / "epoch_1.pth"


@pytest.fixture(scope="module")
def url(folder: Path) -> Iterator[str]:
    with pytest.MonkeyPatch.context() as patch, (folder / "console").open("w") as file:
        patch.setenv("PGD_RECONCILE_S", "0.5")
        with service(folder, Console(file=file)) as url:
            yield url


def distill_spec(dataset: str, teacher: str) -> dict[str, Any]:
    student = {"name": "mobilenet_v2", "width": 0.25}
    return {"kind": "distill", "dataset": dataset, "teacher": teacher, "student": student}


def pgd(url: str, key: str, *arguments: object, code: int = 0) -> Any:
    """What the command says in JSON, run as a process without a terminal."""
    command = [sys.executable, "-m", "api.cli", "--url", url, *map(str, arguments), "--json"]
    done = subprocess.run(
        command, capture_output=True, text=True, cwd=ROOT, env={**os.environ, "PGD_API_KEY": key}
    )
    assert done.returncode == code, done.stderr
    return json.loads(done.stdout)


def test_it_is_recognised_confirmed_distilled_from_measured_and_deleted(
    url: str, client: Client, dataset: str, checkpoint: Path, folder: Path
) -> None:
    key = key_in(folder)
    added = pgd(url, key, "teacher", "add", "plain", "--file", checkpoint, code=1)
    assert added["state"] == "unconfirmed", added["message"]
    seen = added["recognised"]
    assert (seen["detector"], seen["backbone"], seen["head_width"]) == ("gfl", "resnet18", 64)
    assert tuple(seen["class_names"]) == client.dataset(dataset).classes
    with pytest.raises(ApiError, match=f"{added['id']}:confirm") as refused:
        client.validate(distill_spec(dataset, added["id"]))
    assert refused.value.code == "not_ready"

    ready = pgd(url, key, "teacher", "confirm", added["id"])

    assert (ready["state"], ready["sha256"]) == ("ready", added["sha256"])
    assert ready["model"] == seen["model"]
    assert client.validate(distill_spec(dataset, added["id"])).valid
    settings = {"input": {"long_side": 64, "short_side": 64}, "workers": 0}
    job = list(client.watch(client.evaluate_teacher(added["id"], dataset, settings).id))[-1]
    assert job.state == "succeeded", job.message
    assert "AP" in job.result["detector"]["metrics"]
    stored = folder / "service" / "files" / "teachers" / added["id"] / "teacher.safetensors"
    assert stored.is_file()
    assert pgd(url, key, "teacher", "rm", added["id"], "--yes")["deleted"] is True
    assert not stored.exists()


def test_one_that_computes_otherwise_or_is_of_another_kind_is_rejected_by_name(
    client: Client, checkpoint: Path, tmp_path: Path
) -> None:
    content = torch.load(checkpoint, map_location="cpu", weights_only=False)  # our own
    weights = content["state_dict"]
    caffe = content["meta"]["cfg"].replace("style='pytorch'", "style='caffe'")
    files = {
        "caffe": {"state_dict": weights, "meta": {**content["meta"], "cfg": caffe}},
        "RetinaNet": {
            "state_dict": {k.replace("gfl_", "retina_"): v for k, v in weights.items()},
        },
    }
    for word, file in files.items():
        torch.save(file, tmp_path / "sent.pth")
        upload = client.upload(tmp_path / "sent.pth")
        added = client.add_teacher_from_upload("odd", upload.id)
        found = client.wait_for_teacher(added.id)
        assert found.state == "rejected"
        assert word in found.message
        assert found.recognised is not None
        with pytest.raises(ApiError, match="was rejected"):
            client.confirm_teacher(added.id)
