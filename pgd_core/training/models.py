"""The models of a job: its teacher, and its students with the weights they start from."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, cast

import mmengine
from mmengine.runner.checkpoint import CheckpointLoader
from torch import nn

from pgd_core.detectors.build import STRIDES, build_detector
from pgd_core.detectors.checkpoint import read_weights
from pgd_core.detectors.distiller import Distiller
from pgd_core.detectors.timm_nets import weights_of_timm
from pgd_core.detectors.weights import Weights, load_whole
from pgd_core.distill import Setting
from pgd_core.distill.methods import build_method
from pgd_core.errors import InvalidSpec, TeacherUnusable, WeightsUnusable
from pgd_core.jobs.methods import refuse_unserved
from pgd_core.jobs.run import RunSpec, TeacherFile
from pgd_core.jobs.spec import BackboneName, BackboneSpec, DetectorSpec, DistillJob, TrainJob
from pgd_core.training.checkpoints import sha256_of

CLASSIFIER = ("fc.", "classifier.")  # of ImageNet weights, no part of a backbone


def load_teacher(
    teacher: TeacherFile, classes: tuple[str, ...], size_divisor: int, max_detections: int = 100
) -> nn.Module:
    """The teacher in evaluation mode; TeacherUnusable when it is not what was registered."""
    if teacher.classes != classes:
        raise TeacherUnusable(
            f"the teacher knows {len(teacher.classes)} classes ({_few(teacher.classes)}), the data "
            f"set has {len(classes)} ({_few(classes)}); they must be the same, in the same order"
        )
    try:
        found = sha256_of(teacher.weights)
    except OSError as error:
        raise TeacherUnusable(
            f"the teacher's file cannot be read ({error.strerror}); register it anew"
        ) from error
    if found != teacher.sha256:
        raise TeacherUnusable(
            f"the teacher's file has sha256 {found}, registered was {teacher.sha256}; register it "
            "anew"
        )
    model = build_detector(teacher.model, len(classes), size_divisor, max_detections)
    load_whole(model, _read_teacher(teacher), "the teacher's checkpoint", TeacherUnusable)
    return model.eval().requires_grad_(False)


def _read_teacher(teacher: TeacherFile) -> Weights:
    try:
        return read_weights(teacher.weights)
    except WeightsUnusable as error:
        raise TeacherUnusable(error.message) from error


def _few(classes: tuple[str, ...]) -> str:
    return ", ".join(classes[:5]) + (", …" if len(classes) > 5 else "")


def trained_spec(run: RunSpec) -> DetectorSpec:
    """The detector that the job trains; a distilled student has its teacher's neck and head."""
    if isinstance(run.job, TrainJob):
        return run.job.model
    if not isinstance(run.job, DistillJob) or run.teacher is None:
        raise InvalidSpec(f"a job of kind {run.job.kind!r} with no teacher trains nothing")
    return run.teacher.model.model_copy(update={"backbone": run.job.student})


def fresh_detector(run: RunSpec) -> nn.Module:
    """The detector before its first step: random neck and head, the backbone as specified."""
    spec = trained_spec(run)
    files = run.dataset
    model = build_detector(
        spec, len(files.classes), run.job.input.size_divisor, files.max_detections
    )
    cast(Any, model).init_weights()
    load_backbone(cast(nn.Module, model.backbone), spec.backbone, run)
    return model


def load_backbone(backbone: nn.Module, spec: BackboneSpec, run: RunSpec) -> None:
    """Put `weights` of the spec into the backbone, whole; WeightsUnusable when they do not fit."""
    if spec.weights == "none":
        return
    if spec.weights == "imagenet":
        weights = _imagenet(spec)
    else:
        if run.weights_folder is None:
            raise WeightsUnusable(
                f"backbone weights {spec.weights!r} need a weights folder; set PGD_WEIGHTS_FOLDER"
            )
        file = run.weights_folder / spec.weights.removeprefix("file:")
        if not file.is_file():
            raise WeightsUnusable(
                f"backbone weights {spec.weights!r} are no file of the server's weights folder; "
                "put it there, or use weights 'imagenet' or 'none'"
            )
        weights = read_weights(file)
    weights = _of_backbone(weights)
    if spec.timm_name is not None:
        weights = weights_of_timm(spec.timm_name, backbone, weights)
    load_whole(backbone, weights, f"backbone weights {spec.weights!r}", WeightsUnusable)


def _of_backbone(weights: Weights) -> Weights:
    """A whole detector's or classifier's backbone, or a backbone alone, without its classifier."""
    inside = {
        k.removeprefix("backbone."): v for k, v in weights.items() if k.startswith("backbone.")
    }
    return inside or {k: v for k, v in weights.items() if not k.startswith(CLASSIFIER)}


def _imagenet(spec: BackboneSpec) -> Weights:
    url = imagenet_url(BackboneName(spec.name))
    try:
        loaded = CheckpointLoader.load_checkpoint(url, map_location="cpu", logger=None)
    except Exception as error:
        raise WeightsUnusable(
            f"ImageNet weights {url} could not be downloaded ({type(error).__name__}: {error}); "
            "put the file into the weights folder and use weights 'file:NAME'"
        ) from error
    return dict(loaded.get("state_dict", loaded))


def imagenet_url(name: BackboneName) -> str:
    """Where MMEngine's own lists say the weights lie; its torchvision scheme needs torchvision."""
    table = "mmcls" if name is BackboneName.MOBILENET_V2 else "torchvision_0.12"
    urls = json.loads((Path(mmengine.__file__).parent / "hub" / f"{table}.json").read_bytes())
    return str(urls[name])


def distiller(run: RunSpec, student: nn.Module, teacher: nn.Module) -> Distiller:
    """The student under its teacher, with the job's method."""
    if not isinstance(run.job, DistillJob) or run.teacher is None:
        raise InvalidSpec(f"a job of kind {run.job.kind!r} does not distil")
    method, model = run.job.method, run.teacher.model
    refuse_unserved(method, model.detector)
    setting = Setting(
        detector=model.detector,
        backbone_family=_family(run.job.student),
        dataset=run.dataset.family,
        channels=model.head_width,
        strides=tuple(STRIDES),
    )
    return Distiller(student, teacher, build_method(method.name, setting, method.given()))


def _family(backbone: BackboneSpec) -> str:
    if backbone.timm_name is not None:
        return "timm"
    return "mobilenet_v2" if backbone.name is BackboneName.MOBILENET_V2 else "resnet"
