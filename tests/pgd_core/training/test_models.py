from __future__ import annotations

import http.server
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
import torch

from pgd_core.detectors.build import build_detector
from pgd_core.errors import WeightsUnusable
from pgd_core.jobs.run import DatasetFiles, TeacherFile
from pgd_core.jobs.spec import BackboneName, BackboneSpec
from pgd_core.training import models
from pgd_core.training.models import distiller, fresh_detector, imagenet_url, load_teacher
from tests.pgd_core.detectors.batches import small_spec
from tests.pgd_core.training.runs import distill_run, train_run


class _Silent(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def zoo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A model zoo on this machine, in the published layouts of the real one's files."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("MMENGINE_HOME", str(tmp_path / "cache"))
    handler = partial(_Silent, directory=str(tmp_path))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


@pytest.mark.parametrize("name", [BackboneName.RESNET18, BackboneName.MOBILENET_V2])
def test_imagenet_weights_are_downloaded_and_loaded_whole(
    name: BackboneName,
    zoo: str,
    files: DatasetFiles,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    torch.manual_seed(11)
    backbone = build_detector(small_spec(backbone=name), 3).backbone.state_dict()
    if name is BackboneName.MOBILENET_V2:
        whole = {f"backbone.{k}": v for k, v in backbone.items()}
        torch.save({"state_dict": {**whole, "head.fc.weight": torch.ones(1)}}, tmp_path / "w.pth")
    else:
        torch.save({**backbone, "fc.weight": torch.ones(1)}, tmp_path / "w.pth")
    monkeypatch.setattr(models, "imagenet_url", lambda _: f"{zoo}/w.pth")
    spec = small_spec().model_copy(update={"backbone": BackboneSpec(name=name, weights="imagenet")})
    loaded = fresh_detector(train_run(files, spec)).backbone.state_dict()
    assert all(torch.equal(loaded[k], v) for k, v in backbone.items())


@pytest.mark.parametrize("name", BackboneName)
def test_every_backbone_has_an_address_of_imagenet_weights(name: BackboneName) -> None:
    assert imagenet_url(name).startswith("https://")
    assert name in imagenet_url(name)


def test_weights_that_cannot_be_downloaded_say_how_to_go_on(
    zoo: str, files: DatasetFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(models, "imagenet_url", lambda _: f"{zoo}/none.pth")
    backbone = BackboneSpec(name="resnet18", weights="imagenet")
    spec = small_spec().model_copy(update={"backbone": backbone})
    with pytest.raises(WeightsUnusable, match=r"none\.pth.*file:NAME"):
        fresh_detector(train_run(files, spec))


def test_a_jobs_method_takes_the_detectors_preset_where_it_says_nothing(
    files: DatasetFiles, teachers: dict[str, TeacherFile]
) -> None:
    silent = distill_run(files, teachers["autoassign"])
    told = distill_run(files, teachers["autoassign"], method={"alpha": 0.2, "gamma": 0.5, "tau": 2})
    for run, expected in ((silent, (0.08, 0.04, 0.128, 0.4)), (told, (0.2, 0.1, 0.5, 2.0))):
        teacher = load_teacher(teachers["autoassign"], run.dataset.classes, 32)
        hyper = distiller(run, fresh_detector(run), teacher).method.hyper
        found = (hyper.alpha, hyper.beta, hyper.gamma, hyper.tau)
        assert found == pytest.approx(expected)
