"""Students beyond the paper's: timm's networks, MobileNetV2, and the teacher's own architecture."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from pgd_core.detectors.timm_backbone import import_timm
from pgd_core.detectors.weights import inherit_head
from pgd_core.errors import InvalidSpec, WeightsUnusable
from pgd_core.jobs.run import DatasetFiles, TeacherFile
from pgd_core.training.job import run_job
from pgd_core.training.models import distiller, fresh_detector, load_teacher
from tests.pgd_core.training.runs import distill_run, lines, losses


@pytest.fixture(autouse=True)
def _signals() -> Any:
    """A job takes SIGTERM for itself; pytest gets it back."""
    before = {n: signal.getsignal(n) for n in (signal.SIGTERM, signal.SIGINT)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("name", ["timm/mobilenetv3_small_050", "timm/test_convnext"])
def test_a_network_of_timm_learns_from_the_teacher_and_is_published_with_its_wrapper(
    name: str, files: DatasetFiles, teachers: dict[str, TeacherFile], tmp_path: Path
) -> None:
    run = distill_run(files, teachers["gfl"], {"epochs": 1}, student={"name": name})
    start = fresh_detector(run).state_dict()
    result = run_job(run, tmp_path)
    last = losses(tmp_path, "distilled")[3]
    assert all(last[term] > 0 for term in last if term.startswith("loss_pgd"))
    assert result["distilled"]["cost"]["parameters"] > 0
    outputs = tmp_path / "outputs"
    trained = load_file(outputs / "student.safetensors")
    assert trained.keys() == start.keys()
    stem = next(key for key in trained if key.startswith("backbone.net."))
    assert not torch.equal(trained[stem], start[stem])
    assert "timm_backbone.py" in json.loads((outputs / "manifest.json").read_bytes())["files"]
    assert "custom_imports" in (outputs / "student_config.py").read_text()


def test_timms_weights_come_from_the_servers_folder(
    files: DatasetFiles, teachers: dict[str, TeacherFile], tmp_path: Path
) -> None:
    whole = import_timm().create_model("test_convnext").state_dict()
    save_file(whole, tmp_path / "w.safetensors")
    student = {"name": "timm/test_convnext", "weights": "file:w.safetensors"}
    run = distill_run(files, teachers["fcos"], student=student)
    run = run.model_copy(update={"weights_folder": tmp_path})
    loaded = fresh_detector(run).backbone.net.state_dict()
    last = "2.blocks.0.conv_dw.weight"
    assert torch.equal(loaded[f"stages_{last}"], whole[f"stages.{last}"])
    detector = {f"backbone.net.{key}": value.contiguous() for key, value in loaded.items()}
    save_file(detector, tmp_path / "w.safetensors")  # as an earlier job published it
    again = fresh_detector(run).backbone.net.state_dict()
    assert all(torch.equal(again[key], value) for key, value in loaded.items())


def test_weights_of_another_network_of_timm_are_refused(
    files: DatasetFiles, teachers: dict[str, TeacherFile], tmp_path: Path
) -> None:
    save_file(import_timm().create_model("test_resnet").state_dict(), tmp_path / "w.safetensors")
    student = {"name": "timm/test_convnext", "weights": "file:w.safetensors"}
    run = distill_run(files, teachers["fcos"], student=student)
    with pytest.raises(WeightsUnusable, match="missing tensors: net"):
        fresh_detector(run.model_copy(update={"weights_folder": tmp_path}))


def test_a_network_that_timm_has_not_is_refused_before_the_teacher_is_measured(
    files: DatasetFiles, teachers: dict[str, TeacherFile], tmp_path: Path
) -> None:
    run = distill_run(files, teachers["fcos"], student={"name": "timm/resnet10"})
    with pytest.raises(InvalidSpec, match="close to it: timm/resnet10t"):
        run_job(run, tmp_path)
    assert not (tmp_path / "progress.jsonl").exists() or not lines(tmp_path, "validation")


def test_timm_is_a_family_of_its_own_to_the_presets(
    files: DatasetFiles, teachers: dict[str, TeacherFile]
) -> None:
    """MobileNetV2 halves ATSS's alpha; other light networks take the detector's."""
    alphas = {}
    for name in ("mobilenet_v2", "timm/test_convnext"):
        run = distill_run(files, teachers["atss"], student={"name": name})
        teacher = load_teacher(teachers["atss"], run.dataset.classes, 32)
        alphas[name] = distiller(run, fresh_detector(run), teacher).method.hyper.alpha
    assert alphas == {"mobilenet_v2": 0.04, "timm/test_convnext": 0.08}


@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v2", "timm/test_convnext"])
def test_any_student_inherits_the_whole_head_and_all_of_the_neck_that_fits(
    name: str, files: DatasetFiles, teachers: dict[str, TeacherFile]
) -> None:
    """The lateral convolutions of the neck depend on the backbone's channels."""
    run = distill_run(files, teachers["fcos"], student={"name": name})
    assert run.job.inherits_head
    teacher = load_teacher(teachers["fcos"], run.dataset.classes, 32)
    taken = inherit_head(fresh_detector(run), teacher)
    lateral = {f"neck.lateral_convs.{level}.conv.weight" for level in range(3)}
    assert set(taken.skipped) == (set() if name == "resnet18" else lateral)


def test_a_student_that_is_its_teacher_has_nothing_to_learn_from_it(
    files: DatasetFiles, teachers: dict[str, TeacherFile], tmp_path: Path
) -> None:
    """Its backbone from the teacher's file, with frozen norms, and the head inherited."""
    student = {"name": "resnet18", "weights": "file:gfl.safetensors"}
    run = distill_run(files, teachers["gfl"], {"epochs": 1}, student=student)
    run = run.model_copy(update={"weights_folder": teachers["gfl"].weights.parent})
    run_job(run, tmp_path)
    first, last = (losses(tmp_path, "distilled")[step] for step in (1, 3))
    of_method = [term for term in first if term.startswith("loss_pgd")]
    assert len(of_method) == 5
    assert all(first[term] == 0 for term in of_method)
    assert all(last[term] > 0 for term in of_method)  # by then the truth has taught it something
