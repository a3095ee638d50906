"""A whole job: the teacher measured, every variant trained, the comparison, the outputs."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any, cast

import torch
from mmengine import dist
from mmengine.device import get_device
from PIL.Image import DecompressionBombError
from safetensors.torch import load_file
from torch import nn

from pgd_core.detectors.build import build_detector, detector_config
from pgd_core.errors import PgdError
from pgd_core.evaluation.speed import model_cost
from pgd_core.files.full_disk import lacks_room
from pgd_core.jobs.run import PROGRESS_FILE, WORK_FOLDER, RunSpec
from pgd_core.jobs.spec import AnalyseJob, DistillJob, EvaluateJob, ExportJob, InputSpec
from pgd_core.training.analysis import analyse
from pgd_core.training.analysis_outputs import analysis_files
from pgd_core.training.artifacts import write_outputs
from pgd_core.training.best import FOUND, WEIGHTS
from pgd_core.training.comparison import draw_comparison
from pgd_core.training.data import val_loader, with_prepared_annotations
from pgd_core.training.export import export, export_files
from pgd_core.training.models import load_teacher, trained_spec
from pgd_core.training.progress import Reporter
from pgd_core.training.stopping import StopRequest
from pgd_core.training.validation import validate
from pgd_core.training.variant import Context, train_variant, variants

TWINS = ("plain", "head_only")


def run_job(run: RunSpec, folder: Path) -> dict[str, Any]:
    """Do the job and fill `folder`/outputs; returns the content of metrics.json.

    Raises a RunFailed, whose code is the reason, or StoppedBySignal with a checkpoint on disk.
    """
    reporter = Reporter(folder / PROGRESS_FILE if dist.is_main_process() else None)
    stop = StopRequest(folder)
    stop.listen()
    files = with_prepared_annotations(run.dataset, folder / WORK_FOLDER / "annotations")
    run = run.model_copy(update={"dataset": files})
    if variants(run):  # what cannot be built is refused before the teacher is measured
        detector_config(trained_spec(run), len(files.classes), run.input.size_divisor)
    context = Context(run, folder, reporter, stop, _teacher(run, reporter))
    result = _about_the_teacher(context)
    for variant in variants(run):
        trained = train_variant(context, variant)
        cost = _student_cost(context, context.work(variant) / WEIGHTS)
        result[variant.name] = {"metrics": trained["metrics"], "step": trained["step"], **cost}
        stop.check()
    if "distilled" in result:
        result["gain"] = _gain(result)
    if dist.is_main_process():
        reporter.stage("writing the outputs")
        more = [*analysis_files(folder), *export_files(folder), *_comparison(context)]
        write_outputs(run, variants(run), result, folder, more)
    dist.barrier()
    return result


def _teacher(run: RunSpec, reporter: Reporter) -> nn.Module | None:
    if run.teacher is None:
        return None
    reporter.stage("loading the teacher", "teacher")
    files, divisor = run.dataset, run.input.size_divisor
    return load_teacher(run.teacher, files.classes, divisor, files.max_detections).to(get_device())


def _about_the_teacher(context: Context) -> dict[str, Any]:
    """What the job says of its teacher before any student is trained."""
    job, teacher = context.run.job, context.teacher
    if isinstance(job, AnalyseJob):
        return analyse(context, job)
    if isinstance(job, ExportJob):
        return export(context, job)
    if teacher is None or not getattr(job, "measure_teacher", True):
        return {}
    measured = _measure_teacher(context, teacher)
    context.stop.check()
    return {"detector" if isinstance(job, EvaluateJob) else "teacher": measured}


def _comparison(context: Context) -> list[Path]:
    """The picture of a distil job; a picture that cannot be drawn fails no training."""
    if context.teacher is None or not isinstance(context.run.job, DistillJob):
        return []
    found = {v.name: context.work(v) / FOUND for v in variants(context.run)}
    path = context.folder / WORK_FOLDER / "comparison.png"
    try:
        draw_comparison(context.run, context.teacher, found["distilled"], found.get("plain"), path)
    except (OSError, PgdError, DecompressionBombError) as error:
        if lacks_room(error):
            raise
        context.reporter.stage(f"no comparison could be drawn: {error}")
        return []
    return [path]


def _measure_teacher(context: Context, teacher: nn.Module) -> dict[str, Any]:
    run = context.run
    context.reporter.stage("evaluating the teacher", "teacher")
    training = run.job.training if isinstance(run.job, DistillJob) else cast(EvaluateJob, run.job)
    loader = val_loader(
        run.dataset,
        run.input,
        batch_size=max(1, training.batch_size // dist.get_world_size()),
        workers=training.workers,
        rank=dist.get_rank(),
        world_size=dist.get_world_size(),
    )
    metrics = validate(teacher, context.stop.heard_between(loader), run.dataset)
    context.reporter.validation("teacher", 0, metrics=metrics)
    return {"metrics": metrics, "cost": _cost(teacher, run.input)}


def _student_cost(context: Context, weights: Path) -> dict[str, Any]:
    run = context.run
    model = build_detector(trained_spec(run), len(run.dataset.classes), run.input.size_divisor).to(
        get_device()
    )
    model.load_state_dict(load_file(weights))
    return {"cost": _cost(model.eval(), run.input)}


def _cost(model: nn.Module, spec: InputSpec) -> dict[str, Any]:
    """At the largest input, padded; a batch of one."""
    height, width = (
        -(-side // spec.size_divisor) * spec.size_divisor
        for side in (spec.short_side, spec.long_side)
    )
    device = next(model.parameters()).device
    picture = torch.zeros(1, 3, height, width, device=device)
    forward = cast(Any, model).forward
    cost = model_cost(
        model,
        lambda: forward(picture, None, mode="tensor"),
        input_size=(height, width),
        device=device,
    )
    values = asdict(cost)
    return {"gflops": values.pop("gmacs"), **values}  # multiply-adds, as the field counts


def _gain(result: dict[str, Any]) -> dict[str, float | None]:
    """AP of the distilled student over each of its twins, in points; None where there is no AP."""
    ours = result["distilled"]["metrics"]["AP"]
    twins = {name: result[name]["metrics"]["AP"] for name in TWINS if name in result}
    return {
        f"over_{name}": None if ours is None or ap is None else round(ours - ap, 3)
        for name, ap in twins.items()
    }
