"""The trainer as the process that it is."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from pgd_core.jobs.run import DatasetFiles, RunSpec, TeacherFile
from pgd_core.training.job import run_job
from tests.pgd_core.training.processes import (
    ENVIRONMENT,
    ROOT,
    TWO_PROCESSES,
    has_lines,
    outcome,
    trainer,
    wait_until,
)
from tests.pgd_core.training.runs import INPUT, distill_run, lines, losses, train_run


def test_a_run_on_its_own_ends_with_its_outcome(files: DatasetFiles, tmp_path: Path) -> None:
    command = trainer(train_run(files, iterations=2, epochs=None), tmp_path)
    subprocess.run(command, cwd=ROOT, env=ENVIRONMENT, check=True, capture_output=True)
    assert outcome(tmp_path)["status"] == "succeeded"
    assert "AP" in outcome(tmp_path)["result"]["detector"]["metrics"]


@pytest.mark.parametrize(
    ("spec", "named"),
    [
        ("{", "not valid"),
        ('{"job": {"kind": "dance"}}', "dance"),
        ('{"job": {"kind": "train", "surprise": 1}}', "surprise"),
    ],
)
def test_a_spec_that_is_not_valid_fails_by_name(spec: str, named: str, tmp_path: Path) -> None:
    command = trainer(spec, tmp_path)
    done = subprocess.run(command, cwd=ROOT, env=ENVIRONMENT, check=False, capture_output=True)
    assert done.returncode == 1
    assert outcome(tmp_path)["reason"] == "invalid_spec"
    assert named in outcome(tmp_path)["message"]


def test_a_trainer_that_cannot_be_loaded_is_the_machine_s_trouble(
    files: DatasetFiles, tmp_path: Path
) -> None:
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "torch.py").write_text("raise ImportError('libcudart.so.13: cannot open')")
    environment = ENVIRONMENT | {"PYTHONPATH": f"{broken}:{ROOT}"}
    command = trainer(train_run(files), tmp_path / "run")
    done = subprocess.run(command, cwd=ROOT, env=environment, check=False, capture_output=True)
    assert done.returncode == 1
    assert outcome(tmp_path / "run")["reason"] == "worker_trouble"
    assert "libcudart.so.13: cannot open" in outcome(tmp_path / "run")["message"]
    assert not (tmp_path / "run" / "alive").exists()


@pytest.mark.parametrize("ask", ["signal", "file"])
def test_a_run_asked_to_stop_leaves_a_checkpoint_and_resumes(
    ask: str, files: DatasetFiles, tmp_path: Path
) -> None:
    run = train_run(files, epochs=200, workers=1)
    first = tmp_path / "first"
    process = subprocess.Popen(
        trainer(run, first), cwd=ROOT, env=ENVIRONMENT, stdout=subprocess.DEVNULL
    )
    wait_until(lambda: has_lines(first, "train"), process)
    if ask == "signal":
        process.send_signal(signal.SIGTERM)
    else:
        (first / "stop").touch()
    assert process.wait(60) == 3
    assert outcome(first) | {"message": ""} == {
        "status": "stopped",
        "reason": "stopped",
        "message": "",
        "result": {},
    }
    (checkpoint,) = sorted((first / "work" / "detector").glob("step_*.json"))[-1:]
    step = json.loads(checkpoint.read_bytes())["step"]
    second = run.model_copy(update={"earlier_attempts": (first,)})
    process = subprocess.Popen(
        trainer(second, tmp_path / "second"), cwd=ROOT, env=ENVIRONMENT, stdout=subprocess.DEVNULL
    )
    wait_until(lambda: has_lines(tmp_path / "second", "train"), process)
    process.send_signal(signal.SIGTERM)
    process.wait(60)
    assert f"from step {step} of" in lines(tmp_path / "second", "stage")[-1]["message"]


@pytest.mark.slow
def test_two_processes_train_one_student_together(
    files: DatasetFiles, teachers: dict[str, TeacherFile], tmp_path: Path
) -> None:
    """Under torchrun with gloo; frozen norms, so that a process's share does not matter."""
    student = {"name": "mobilenet_v2", "width": 0.25, "freeze_batch_norm": True}
    run = distill_run(files, teachers["fcos"], {"epochs": 1}, student=student)
    command = trainer(run, tmp_path / "two", *TWO_PROCESSES)
    subprocess.run(command, cwd=ROOT, env=ENVIRONMENT, check=True, capture_output=True)
    assert outcome(tmp_path / "two")["status"] == "succeeded"
    result = outcome(tmp_path / "two")["result"]
    assert set(result) == {"teacher", "distilled", "gain"}
    run_job(run, tmp_path / "one")
    one = json.loads((tmp_path / "one" / "outputs" / "metrics.json").read_bytes())
    assert result["teacher"]["metrics"] == one["teacher"]["metrics"]
    assert len(losses(tmp_path / "two", "distilled")) == len(losses(tmp_path / "one", "distilled"))


def test_the_process_that_failed_first_tells_why(
    files: DatasetFiles, teachers: dict[str, TeacherFile], tmp_path: Path
) -> None:
    """The second process cannot read its share; the first then fails only for lack of it."""
    pictures = tmp_path / "pictures"
    shutil.copytree(files.val_images, pictures)
    gone = sorted(pictures.iterdir())[1]
    gone.unlink()
    run = RunSpec.model_validate(
        {
            "job": {
                "kind": "evaluate",
                "dataset": "d",
                "teacher": "t",
                "input": INPUT,
                "workers": 0,
            },
            "dataset": files.model_copy(update={"val_images": pictures}).model_dump(),
            "teacher": teachers["fcos"].model_dump(),
            "device": "cpu",
        }
    )
    command = trainer(run, tmp_path / "two", *TWO_PROCESSES)
    done = subprocess.run(command, cwd=ROOT, env=ENVIRONMENT, check=False, capture_output=True)
    assert done.returncode == 1
    assert outcome(tmp_path / "two")["reason"] == "bad_dataset"
    assert gone.name in outcome(tmp_path / "two")["message"]


LOAD_PLAINLY = """
import sys
sys.modules["pgd_core"] = None  # whatever is installed here, this project is not
sys.path.insert(0, sys.argv[1])
import mmcv_operators
from mmdet.apis import inference_detector, init_detector
student = sys.argv[1] + "/student"
model = init_detector(student + "_config.py", student + ".pth", device="cpu")
found = inference_detector(model, sys.argv[2]).pred_instances
import torch
classes = model.dataset_meta["classes"]
torch.save({"boxes": found.bboxes, "scores": found.scores, "classes": classes}, sys.argv[3])
"""


@pytest.mark.parametrize(
    ("detector", "student"),
    [("fcos", "mobilenet_v2"), ("ddod", "mobilenet_v2"), ("fcos", "timm/mobilenetv3_small_050")],
)
def test_the_student_gives_the_same_boxes_in_plain_mmdetection(
    detector: str,
    student: str,
    files: DatasetFiles,
    teachers: dict[str, TeacherFile],
    tmp_path: Path,
) -> None:
    run = distill_run(files, teachers[detector], {"epochs": 1}, student={"name": student})
    run_job(run, tmp_path)
    picture = sorted(files.val_images.iterdir())[0]
    command = [
        sys.executable,
        "-c",
        LOAD_PLAINLY,
        str(tmp_path / "outputs"),
        str(picture),
        str(tmp_path / "found.pth"),
    ]
    subprocess.run(command, cwd=tmp_path, env=ENVIRONMENT, check=True, capture_output=True)
    found = torch.load(tmp_path / "found.pth", weights_only=True)
    boxes, scores = _our_boxes(run, tmp_path / "outputs" / "student.safetensors", picture)
    assert found["classes"] == run.dataset.classes
    torch.testing.assert_close(found["boxes"], boxes)
    torch.testing.assert_close(found["scores"], scores)


def _our_boxes(run: RunSpec, weights: Path, picture: Path) -> tuple[torch.Tensor, torch.Tensor]:
    from pgd_core.detectors.build import build_detector
    from pgd_core.training.data import val_loader
    from pgd_core.training.models import trained_spec

    model = build_detector(trained_spec(run), len(run.dataset.classes)).eval()
    model.load_state_dict(load_file(weights))
    for batch in val_loader(run.dataset, run.job.input, batch_size=1, workers=0):
        if Path(batch["data_samples"][0].img_path) == picture:
            with torch.no_grad():
                instances = model.val_step(batch)[0].pred_instances
            return instances.bboxes, instances.scores
    raise AssertionError(f"{picture} is no validation picture")


def test_the_comparison_picture_is_drawn(
    files: DatasetFiles, teachers: dict[str, TeacherFile], tmp_path: Path
) -> None:
    run_job(distill_run(files, teachers["fcos"], {"epochs": 1}, twins=["plain"]), tmp_path)
    command = [sys.executable, "-m", "pgd_core.training.showcase"]
    command += ["--folder", str(tmp_path / "outputs"), "--data", str(files.val_images.parent)]
    command += ["--out", str(tmp_path / "sheet.png"), "--pictures", "2"]
    subprocess.run(command, cwd=ROOT, env=ENVIRONMENT, check=True, capture_output=True)
    assert (tmp_path / "sheet.png").read_bytes().startswith(b"\x89PNG")
