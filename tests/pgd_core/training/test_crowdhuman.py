"""CrowdHuman's format from the annotation file to the published student, at toy size."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from mmengine.config import Config
from mmengine.structures import InstanceData

from pgd_core.datasets.crowd import write_crowd_scenes
from pgd_core.datasets.odgt import read_odgt
from pgd_core.errors import DatasetUnusable
from pgd_core.jobs.run import DatasetFiles, TeacherFile
from pgd_core.training import validation
from pgd_core.training.checkpoints import sha256_of
from pgd_core.training.data import train_loader, val_loader, with_prepared_annotations
from pgd_core.training.job import run_job
from pgd_core.training.models import distiller, fresh_detector, load_teacher
from tests.pgd_core.detectors.batches import small_spec
from tests.pgd_core.training.runs import distill_run, lines, losses, train_run


@pytest.fixture(autouse=True)
def _signals() -> Any:
    """A job takes SIGTERM for itself; pytest gets it back."""
    before = {n: signal.getsignal(n) for n in (signal.SIGTERM, signal.SIGINT)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture(scope="module")
def crowd(tmp_path_factory: pytest.TempPathFactory) -> DatasetFiles:
    """A checked data set of 64-pixel scenes."""
    files = write_crowd_scenes(tmp_path_factory.mktemp("crowd"), images=4, val_images=2, size=64)
    return DatasetFiles(
        train_annotations=files.train_annotations,
        train_images=files.train_images,
        val_annotations=files.val_annotations,
        val_images=files.val_images,
        classes=("person",),
        sha256="0" * 64,
    )


@pytest.fixture(scope="module")
def teacher(crowd: DatasetFiles, tmp_path_factory: pytest.TempPathFactory) -> TeacherFile:
    """A DDOD out of a job of kind `train`."""
    folder, spec = tmp_path_factory.mktemp("teacher"), small_spec("ddod")
    result = run_job(train_run(crowd, spec, epochs=1), folder)
    assert list(result["detector"]["metrics"]) == ["AP", "MR", "JI"]
    weights = folder / "outputs" / "detector.safetensors"
    return TeacherFile(weights=weights, sha256=sha256_of(weights), model=spec, classes=("person",))


def test_a_trained_ddod_is_distilled_to_the_end_and_the_best_by_ap_is_kept(
    crowd: DatasetFiles, teacher: TeacherFile, tmp_path: Path
) -> None:
    result = run_job(distill_run(crowd, teacher, {"keep": "best"}), tmp_path)
    outputs = tmp_path / "outputs"
    told = json.loads((outputs / "metrics.json").read_bytes())
    assert told == result
    for name in ("teacher", "distilled"):
        assert list(told[name]["metrics"]) == ["AP", "MR", "JI"]
        assert all(0 <= value <= 100 for value in told[name]["metrics"].values())
    of_student = [x for x in lines(tmp_path, "validation") if x["variant"] == "distilled"]
    assert told["distilled"]["metrics"]["AP"] == max(x["metrics"]["AP"] for x in of_student)
    assert sum(name.startswith("loss_pgd") for name in losses(tmp_path, "distilled")[1]) == 5
    published = Config.fromfile(outputs / "student_config.py")
    assert published.model.test_cfg.max_per_img == 500
    assert published.model.bbox_head.num_classes == 1


def test_a_distilled_ddod_takes_crowdhumans_alpha_and_500_detections(
    crowd: DatasetFiles, teacher: TeacherFile, tmp_path: Path
) -> None:
    as_coco = with_prepared_annotations(crowd, tmp_path).model_copy(update={"crowdhuman_val": None})
    for files, alpha, count in ((crowd, 0.001, 500), (as_coco, 0.08, 100)):
        run = distill_run(files, teacher)
        loaded = load_teacher(teacher, files.classes, 32, files.max_detections)
        model = distiller(run, fresh_detector(run), loaded)
        assert model.method.hyper.alpha == alpha
        assert loaded.bbox_head.test_cfg.max_per_img == count
        assert fresh_detector(run).bbox_head.test_cfg.max_per_img == count


def test_preparing_makes_coco_of_both_files_and_keeps_the_rows(
    crowd: DatasetFiles, tmp_path: Path
) -> None:
    prepared = with_prepared_annotations(crowd, tmp_path)
    assert (prepared.family, prepared.max_detections) == ("crowdhuman", 500)
    assert prepared.crowdhuman_val == tmp_path / "val.odgt"
    assert prepared.crowdhuman_val.read_bytes() == crowd.val_annotations.read_bytes()
    assert prepared.train_annotations == tmp_path / "train.json"
    assert len(json.loads(prepared.train_annotations.read_bytes())["images"]) == 4


def test_a_coco_data_set_is_prepared_as_before(files: DatasetFiles, tmp_path: Path) -> None:
    prepared = with_prepared_annotations(files, tmp_path)
    assert (prepared.family, prepared.max_detections) == ("coco", 100)
    assert prepared.crowdhuman_val is None
    assert not list(tmp_path.glob("*.odgt"))


def test_a_picture_that_vanished_before_its_size_was_read_is_named(
    crowd: DatasetFiles, tmp_path: Path
) -> None:
    (tmp_path / "another.jpg").touch()
    elsewhere = crowd.model_copy(update={"train_images": tmp_path})
    with pytest.raises(DatasetUnusable, match=r"crowd,000000\.jpg"):
        with_prepared_annotations(elsewhere, tmp_path / "work")


def test_ignore_regions_reach_training_as_ignored_instances(
    crowd: DatasetFiles, tmp_path: Path
) -> None:
    prepared = with_prepared_annotations(crowd, tmp_path)
    job = train_run(crowd).job
    loader = train_loader(prepared, job.input, images_per_pass=4, seed=0, workers=0)
    loader.batch_sampler.stop = 1  # type: ignore[union-attr]
    (batch,) = loader
    rows = list(read_odgt(crowd.train_annotations))
    samples = batch["data_samples"]
    assert sum(len(s.gt_instances) for s in samples) == sum(len(r.persons) for r in rows)
    ignored = sum(len(s.ignored_instances) for s in samples)
    assert ignored == sum(len(r.ignored) for r in rows) > 0


class _Perfect(torch.nn.Module):
    """Finds every person of the rows exactly, as far as they lie in the picture."""

    def __init__(self, files: DatasetFiles) -> None:
        super().__init__()
        content = json.loads(files.val_annotations.read_bytes())
        self.boxes: dict[int, list[list[float]]] = {row["id"]: [] for row in content["images"]}
        for row in content["annotations"]:
            if not row["iscrowd"]:
                x, y, w, h = row["bbox"]
                self.boxes[row["image_id"]].append([x, y, x + w, y + h])

    def val_step(self, batch: Any) -> list[Any]:
        for sample in batch["data_samples"]:
            boxes = torch.tensor(self.boxes[sample.img_id]).reshape(-1, 4)
            sample.pred_instances = InstanceData(
                bboxes=boxes,
                scores=torch.ones(len(boxes)),
                labels=torch.zeros(len(boxes), dtype=torch.long),
            )
        return list(batch["data_samples"])


def test_a_detector_that_finds_every_person_misses_none(
    crowd: DatasetFiles, tmp_path: Path
) -> None:
    prepared = with_prepared_annotations(crowd, tmp_path)
    loader = val_loader(prepared, train_run(crowd).job.input, batch_size=2, workers=0)
    metrics = validation.validate(_Perfect(prepared), loader, prepared)
    persons = sum(len(row.persons) for row in read_odgt(crowd.val_annotations))
    assert metrics["MR"] == 0
    assert metrics["AP"] == pytest.approx(100 * (persons - 1) / persons, abs=1e-4)
    assert metrics["JI"] == pytest.approx(100, abs=1e-3)
