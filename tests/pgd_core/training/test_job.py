"""Whole jobs at toy size, in this process."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from pgd_core.errors import (
    DatasetUnusable,
    StoppedBySignal,
    TeacherUnusable,
    TrainingDiverged,
    WeightsUnusable,
)
from pgd_core.jobs.run import DatasetFiles, RunSpec, TeacherFile
from pgd_core.jobs.spec import BackboneSpec, DetectorName
from pgd_core.training.checkpoints import sha256_of
from pgd_core.training.job import run_job
from pgd_core.training.process import run_in_process
from pgd_core.training.stopping import StopRequest
from tests.pgd_core.detectors.batches import small_spec
from tests.pgd_core.training.runs import distill_run, lines, losses, narrow_spec, train_run


@pytest.fixture(autouse=True)
def _signals() -> Any:
    """A job takes SIGTERM for itself; pytest gets it back."""
    before = {n: signal.getsignal(n) for n in (signal.SIGTERM, signal.SIGINT)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("detector", DetectorName)
def test_each_detector_distils_with_both_twins_and_publishes_all_of_them(
    detector: str, files: DatasetFiles, teachers: dict[str, TeacherFile], tmp_path: Path
) -> None:
    run = distill_run(files, teachers[detector], {"epochs": 1}, twins=["plain", "head_only"])
    result = run_job(run, tmp_path)
    assert list(result) == ["teacher", "distilled", "plain", "head_only", "gain"]
    assert set(result["gain"]) == {"over_plain", "over_head_only"}
    outputs = tmp_path / "outputs"
    manifest = json.loads((outputs / "manifest.json").read_bytes())
    assert manifest["teacher"]["sha256"] == teachers[detector].sha256
    for name, entry in manifest["files"].items():
        assert sha256_of(outputs / name) == entry["sha256"]
    expected = {
        f"{name}{suffix}"
        for name in ("student", "plain_student", "head_only_student")
        for suffix in (".safetensors", ".pth", "_config.py")
    } | {"metrics.json", "spec.json", "mmcv_operators.py", "comparison.png"}
    assert set(manifest["files"]) == expected
    assert json.loads((outputs / "metrics.json").read_bytes()) == result
    first = losses(tmp_path, "distilled")[1]
    assert sum(name.startswith("loss_pgd") for name in first) == 5
    assert not any("pgd" in name for name in losses(tmp_path, "plain")[1])


def test_the_distilled_students_safetensors_and_pth_hold_the_same_tensors_and_no_teacher(
    files: DatasetFiles, teachers: dict[str, TeacherFile], tmp_path: Path
) -> None:
    run_job(distill_run(files, teachers["fcos"], {"epochs": 1}), tmp_path)
    tensors = load_file(tmp_path / "outputs" / "student.safetensors")
    checkpoint = torch.load(tmp_path / "outputs" / "student.pth", weights_only=True)
    assert checkpoint["state_dict"].keys() == tensors.keys()
    assert all(torch.equal(v, tensors[k]) for k, v in checkpoint["state_dict"].items())
    assert not any("teacher" in name or "method" in name for name in tensors)


def test_the_twins_start_from_the_same_backbone_and_head_only_from_the_teachers_head(
    files: DatasetFiles, teachers: dict[str, TeacherFile], tmp_path: Path
) -> None:
    """A vanishing rate leaves the weights where they started."""
    still = {"epochs": 1, "learning_rate": 1e-12, "weight_decay": 0}
    run = distill_run(files, teachers["fcos"], still, twins=["plain", "head_only"])
    run_job(run, tmp_path)
    names = ("student", "plain_student", "head_only_student")
    distilled, plain, head_only = (
        load_file(tmp_path / "outputs" / f"{name}.safetensors") for name in names
    )
    teacher = load_file(teachers["fcos"].weights)
    head, stem = "bbox_head.conv_cls.weight", "backbone.conv1.conv.weight"
    torch.testing.assert_close(distilled[head], teacher[head], atol=1e-6, rtol=0)
    torch.testing.assert_close(head_only[head], teacher[head], atol=1e-6, rtol=0)
    assert not torch.allclose(plain[head], teacher[head], atol=1e-4)
    torch.testing.assert_close(distilled[stem], plain[stem], atol=1e-6, rtol=0)
    torch.testing.assert_close(head_only[stem], plain[stem], atol=1e-6, rtol=0)


def test_the_paper_profile_inherits_nothing_by_default(
    files: DatasetFiles, teachers: dict[str, TeacherFile], tmp_path: Path
) -> None:
    run = distill_run(files, teachers["fcos"], {"epochs": 1}, method={"profile": "paper"})
    run_job(run, tmp_path)
    assert not any("inherited" in line["message"] for line in lines(tmp_path, "stage"))


def test_a_teacher_is_its_own_student_in_self_distillation(
    files: DatasetFiles, teachers: dict[str, TeacherFile], tmp_path: Path
) -> None:
    run = distill_run(files, teachers["fcos"], {"epochs": 1}, student={"name": "resnet18"})
    assert "distilled" in run_job(run, tmp_path)


def test_a_registered_teacher_is_evaluated(
    files: DatasetFiles, teachers: dict[str, TeacherFile], tmp_path: Path
) -> None:
    run = RunSpec.model_validate(
        {
            "job": {
                "kind": "evaluate",
                "dataset": "d",
                "teacher": "t",
                "input": {"long_side": 64, "short_side": 64},
                "workers": 0,
            },
            "dataset": files.model_dump(),
            "teacher": teachers["gfl"].model_dump(),
            "device": "cpu",
        }
    )
    result = run_job(run, tmp_path)
    assert set(result) == {"detector"}
    assert result["detector"]["metrics"]["AP"] >= 0
    assert result["detector"]["cost"]["parameters"] > 0


def test_a_seed_gives_the_same_run(files: DatasetFiles, tmp_path: Path) -> None:
    for name in ("a", "b"):
        run_job(train_run(files, seed=5), tmp_path / name)
    assert losses(tmp_path / "a", "detector") == losses(tmp_path / "b", "detector")
    run_job(train_run(files, seed=6), tmp_path / "c")
    assert losses(tmp_path / "a", "detector") != losses(tmp_path / "c", "detector")


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize("detector", ["fcos", "ddod"])
def test_a_run_stopped_at_any_step_resumes_to_the_same_curve(
    detector: str, workers: int, files: DatasetFiles, tmp_path: Path
) -> None:
    """DDOD counts the positives it has seen, outside its state dict."""
    more = {"workers": workers, "accumulation": 2, "optimizer": "adamw", "policy": "cosine"}
    run = train_run(files, narrow_spec(detector), **more)
    run_job(run, tmp_path / "whole")
    _run_and_stop_after(4, run, tmp_path / "first")
    second = run.model_copy(update={"earlier_attempts": (tmp_path / "first",)})
    run_job(second, tmp_path / "second")
    whole = losses(tmp_path / "whole", "detector")
    resumed = losses(tmp_path / "second", "detector")
    assert min(resumed) == 5
    assert resumed == {step: terms for step, terms in whole.items() if step > 4}
    ends = [
        load_file(tmp_path / n / "outputs" / "detector.safetensors") for n in ("whole", "second")
    ]
    assert all(torch.equal(ends[0][name], ends[1][name]) for name in ends[0])


@pytest.mark.parametrize("stopped_after", [3, 6])  # the last step is validated too
def test_a_stop_during_a_validation_is_heard_and_only_the_validation_is_made_again(
    stopped_after: int, files: DatasetFiles, tmp_path: Path
) -> None:
    run = train_run(files, keep="best")
    whole = run_job(run, tmp_path / "whole")
    _run_and_stop_after(stopped_after, run, tmp_path / "first")
    assert all(
        line["iteration"] < stopped_after for line in lines(tmp_path / "first", "validation")
    )
    second = run.model_copy(update={"earlier_attempts": (tmp_path / "first",)})
    assert (
        run_job(second, tmp_path / "second")["detector"]["metrics"]
        == (whole["detector"]["metrics"])
    )
    assert lines(tmp_path / "second", "validation")[0]["iteration"] == stopped_after
    assert min(losses(tmp_path / "second", "detector"), default=7) == stopped_after + 1


def test_a_finished_variant_is_not_trained_again(
    files: DatasetFiles, teachers: dict[str, TeacherFile], tmp_path: Path
) -> None:
    run = distill_run(files, teachers["fcos"], {"epochs": 1}, twins=["plain"])
    _run_and_stop_after(4, run, tmp_path / "first")  # three steps each: one into the twin
    second = run.model_copy(update={"earlier_attempts": (tmp_path / "first",)})
    result = run_job(second, tmp_path / "second")
    assert {"distilled", "plain"} <= result.keys()
    assert not losses(tmp_path / "second", "distilled")
    assert min(losses(tmp_path / "second", "plain")) == 2


def test_the_best_checkpoint_is_kept_when_asked(files: DatasetFiles, tmp_path: Path) -> None:
    result = run_job(train_run(files, keep="best", epochs=3), tmp_path)
    seen = [line["metrics"]["AP"] for line in lines(tmp_path, "validation")]
    assert result["detector"]["metrics"]["AP"] == max(seen)
    assert result["detector"]["step"] == 3 * (1 + seen.index(max(seen)))


def test_progress_says_how_far_the_whole_job_is(
    files: DatasetFiles, teachers: dict[str, TeacherFile], tmp_path: Path
) -> None:
    run_job(distill_run(files, teachers["fcos"], {"epochs": 1}, twins=["plain"]), tmp_path)
    steps = lines(tmp_path, "train")
    assert [round(line["done"], 3) for line in steps] == [0.167, 0.333, 0.5, 0.667, 0.833, 1.0]
    assert all(line["eta_s"] is not None for line in steps)
    assert steps[-1]["eta_s"] == 0
    for name in ("learning_rate", "grad_norm", "memory_mb", "images_per_s"):
        assert all(line[name] is not None for line in steps)


def test_bf16_trains_on_a_cpu(
    files: DatasetFiles, teachers: dict[str, TeacherFile], tmp_path: Path
) -> None:
    run_job(distill_run(files, teachers["fcos"], {"epochs": 1, "precision": "bf16"}), tmp_path)


def test_a_diverging_run_says_so(files: DatasetFiles, tmp_path: Path) -> None:
    explosive = {"learning_rate": 10.0, "weight_decay": 1.0, "clip_grad_norm": None}
    run = train_run(files, **explosive, warmup_iterations=0, epochs=20, validation_interval=20)
    with pytest.raises(TrainingDiverged, match="learning_rate"):
        run_job(run, tmp_path)


def test_a_teacher_of_other_classes_is_refused_naming_both(
    files: DatasetFiles, teachers: dict[str, TeacherFile], tmp_path: Path
) -> None:
    teacher = teachers["fcos"].model_copy(update={"classes": ("cat", "dog")})
    with pytest.raises(TeacherUnusable, match=r"2 classes \(cat, dog\).*10 \(zero"):
        run_job(distill_run(files, teacher), tmp_path)


@pytest.mark.parametrize(
    ("declared", "named"),
    [
        (small_spec("fcos", "resnet34"), "missing tensors"),
        (small_spec("atss"), "bbox_head.atss_cls"),
        (small_spec().model_copy(update={"head_width": 32}), "instead of"),
        (small_spec().model_copy(update={"head_convs": 2}), "cls_convs.1"),
    ],
)
def test_a_teacher_that_is_not_what_it_was_declared_is_refused(
    declared: Any,
    named: str,
    files: DatasetFiles,
    teachers: dict[str, TeacherFile],
    tmp_path: Path,
) -> None:
    teacher = teachers["fcos"].model_copy(update={"model": declared})
    with pytest.raises(TeacherUnusable, match=named):
        run_job(distill_run(files, teacher), tmp_path)


def test_a_teacher_file_that_vanished_is_refused(
    files: DatasetFiles, teachers: dict[str, TeacherFile], tmp_path: Path
) -> None:
    teacher = teachers["fcos"].model_copy(update={"weights": tmp_path / "gone.safetensors"})
    with pytest.raises(TeacherUnusable, match="register it anew"):
        run_job(distill_run(files, teacher), tmp_path / "run")


def test_a_teacher_file_that_changed_is_refused(
    files: DatasetFiles, teachers: dict[str, TeacherFile], tmp_path: Path
) -> None:
    path = tmp_path / "t.safetensors"
    path.write_bytes(teachers["fcos"].weights.read_bytes()[:-4] + b"\0\0\0\0")
    teacher = teachers["fcos"].model_copy(update={"weights": path})
    with pytest.raises(TeacherUnusable, match="sha256"):
        run_job(distill_run(files, teacher), tmp_path / "run")


@pytest.mark.parametrize("workers", [0, 1])
def test_a_picture_that_vanished_is_named_in_one_line(
    workers: int, files: DatasetFiles, tmp_path: Path
) -> None:
    (tmp_path / "nowhere").mkdir()
    (tmp_path / "nowhere" / "another.jpg").touch()
    gone = files.model_copy(update={"train_images": tmp_path / "nowhere"})
    with pytest.raises(DatasetUnusable, match=r"^picture .*nowhere") as told:
        run_in_process(train_run(gone, workers=workers), tmp_path)
    assert "Traceback" not in told.value.message


def test_annotations_that_vanished_are_named(files: DatasetFiles, tmp_path: Path) -> None:
    gone = files.model_copy(update={"val_annotations": tmp_path / "nowhere.json"})
    with pytest.raises(DatasetUnusable, match=r"nowhere\.json"):
        run_job(train_run(gone), tmp_path / "run")


def test_backbone_weights_come_from_the_servers_folder(
    files: DatasetFiles, teachers: dict[str, TeacherFile], tmp_path: Path
) -> None:
    """A whole detector's file serves too: its backbone is taken."""
    model = small_spec().model_copy(
        update={"backbone": BackboneSpec(name="resnet18", weights="file:fcos.safetensors")}
    )
    run = train_run(files, model, epochs=1).model_copy(
        update={"weights_folder": teachers["fcos"].weights.parent}
    )
    run_job(run, tmp_path)
    stem = "backbone.conv1.weight"  # frozen with weights
    assert torch.equal(
        load_file(tmp_path / "outputs" / "detector.safetensors")[stem],
        load_file(teachers["fcos"].weights)[stem],
    )


def test_backbone_weights_of_another_network_are_refused(
    files: DatasetFiles, teachers: dict[str, TeacherFile], tmp_path: Path
) -> None:
    model = small_spec().model_copy(
        update={"backbone": BackboneSpec(name="resnet50", weights="file:fcos.safetensors")}
    )
    run = train_run(files, model).model_copy(
        update={"weights_folder": teachers["fcos"].weights.parent}
    )
    with pytest.raises(WeightsUnusable, match="backbone weights 'file:fcos"):
        run_job(run, tmp_path)
    with pytest.raises(WeightsUnusable, match="PGD_WEIGHTS_FOLDER"):
        run_job(train_run(files, model), tmp_path)
    empty = run.model_copy(update={"weights_folder": tmp_path})
    with pytest.raises(WeightsUnusable, match="put it there"):
        run_job(empty, tmp_path)


def _run_and_stop_after(step: int, run: RunSpec, folder: Path) -> None:
    """Ask to stop so that `step` steps are made in all."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(StopRequest, "agreed", lambda _: len(lines(folder, "train")) >= step)
        with pytest.raises(StoppedBySignal):
            run_job(run, folder)
