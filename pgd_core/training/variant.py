"""One run of training: the distilled student, one of its twins, or a plain detector."""

from __future__ import annotations

import hashlib
import json
import uuid
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, cast

import torch
from mmengine import dist
from mmengine.runner import set_random_seed
from torch import nn

from pgd_core.detectors.weights import inherit_head
from pgd_core.errors import InvalidSpec
from pgd_core.jobs.run import WORK_FOLDER, RunSpec
from pgd_core.jobs.spec import DistillJob, TrainJob
from pgd_core.training.agreement import of_first
from pgd_core.training.best import Best, finished_before
from pgd_core.training.checkpoints import find_checkpoint, load_checkpoint
from pgd_core.training.data import train_loader, val_loader
from pgd_core.training.hooks import ProgressHook, StopHook, ValidationHook, save_step
from pgd_core.training.loop import ResumableRunner, StepLoop, student_of
from pgd_core.training.models import distiller, fresh_detector
from pgd_core.training.progress import Reporter
from pgd_core.training.schedule import (
    Schedule,
    images_per_pass,
    optim_wrapper,
    schedule,
    schedulers,
)
from pgd_core.training.stopping import StopRequest
from pgd_core.training.validation import validate

UNUSED_HOOKS = ("runtime_info", "timer", "sampler_seed", "logger", "checkpoint")


@dataclass(frozen=True)
class Variant:
    """What distinguishes the runs of one job."""

    name: str  # detector | distilled | plain | head_only
    distils: bool = False
    inherits_head: bool = False


@dataclass(frozen=True)
class Context:
    """What the runs of one job share."""

    run: RunSpec
    folder: Path  # of the attempt
    reporter: Reporter
    stop: StopRequest
    teacher: nn.Module | None

    def work(self, variant: Variant) -> Path:
        """Where the variant keeps its checkpoints."""
        return self.folder / WORK_FOLDER / variant.name

    def earlier(self, variant: Variant) -> list[Path]:
        """The same of this attempt and of the ones before it, newest first."""
        folders = (self.folder, *self.run.earlier_attempts)
        return [folder / WORK_FOLDER / variant.name for folder in folders]

    def attempt_of(self, checkpoint: Path) -> str:
        """Whose checkpoint it is, for people; a worker's folders are named by the attempt."""
        folder = checkpoint.parents[2]
        return "this attempt" if folder == self.folder else f"attempt {folder.name}"

    def fingerprint(self, variant: Variant) -> str:
        """Of all that the variant's weights depend on: whose checkpoints it may go on from."""
        job = self.run.job.model_dump_json(exclude={"name"}, exclude_defaults=True)
        teacher = self.run.teacher.sha256 if self.run.teacher else ""
        told = json.dumps([job, self.run.dataset.sha256, teacher, variant.name])
        return hashlib.sha256(told.encode()).hexdigest()


def variants(run: RunSpec) -> list[Variant]:
    """The runs of a job; the one that the user asked for first."""
    if isinstance(run.job, TrainJob):
        return [Variant("detector")]
    if not isinstance(run.job, DistillJob):
        return []
    asked = Variant("distilled", run.job.method.distils, run.job.inherits_head)
    return [asked, *(Variant(t, inherits_head=t == "head_only") for t in run.job.twins)]


def train_variant(context: Context, variant: Variant) -> dict[str, Any]:
    """Train to the end, resuming what an earlier attempt left; returns `finished.json`.

    Leaves `weights.safetensors` in the variant's work folder.
    """
    done = finished_before(
        context.earlier(variant), context.work(variant), context.fingerprint(variant)
    )
    job = cast(TrainJob | DistillJob, context.run.job)
    world = dist.get_world_size()
    passes = images_per_pass(job.training, world)
    loader = train_loader(
        context.run.dataset,
        job.input,
        images_per_pass=passes,
        seed=job.training.seed,
        workers=job.training.workers,
        rank=dist.get_rank(),
        world_size=world,
    )
    plan = schedule(job.training, cast(Any, loader.batch_sampler).steps_per_epoch, world)
    context.reporter.total_steps = plan.steps * len(variants(context.run))
    if done is None:
        done = _train(context, variant, loader, plan)
    context.reporter.end_variant(plan.steps)
    return done


def _train(context: Context, variant: Variant, loader: Any, plan: Schedule) -> dict[str, Any]:
    training = cast(TrainJob | DistillJob, context.run.job).training
    model, inheritance = _starting_model(context, variant)
    run = context.fingerprint(variant)
    best = Best(context.work(variant), run, keep=training.keep == "best")
    runner = _runner(context, variant, model, loader, plan, best)
    step, origin = 0, ""
    found = of_first(find_checkpoint(context.earlier(variant), run))
    if found.path is not None:
        runner.checkpoint = load_checkpoint(found.path)
        step = runner.checkpoint["step"]
        origin = f", resumed from a checkpoint of {context.attempt_of(found.path)}"
        best.recall(context.earlier(variant), step)
    for path, wrong in found.passed_over:
        message = f"checkpoint {path.name} of {context.attempt_of(path)} {wrong}, using step {step}"
        context.reporter.stage(message, variant.name)
    message = f"training, from step {step} of {plan.steps}{origin}"
    context.reporter.stage(message + (f"; {inheritance}" if inheritance else ""), variant.name)
    context.reporter.begin_variant(step)
    runner.train()
    return best.finish()


def _starting_model(context: Context, variant: Variant) -> tuple[nn.Module, str]:
    """The same seed gives every variant of a job the same random start."""
    run = context.run
    set_random_seed(cast(TrainJob | DistillJob, run.job).training.seed)
    student, note = fresh_detector(run), ""
    if variant.inherits_head or variant.distils:
        if context.teacher is None:
            raise InvalidSpec(f"the run {variant.name!r} needs a teacher")
        if variant.inherits_head:
            taken = inherit_head(student, context.teacher)
            note = f"{len(taken.copied)} tensors of the teacher's neck and head inherited"
            if taken.skipped:
                note += f", not fitting: {', '.join(taken.skipped)}"
        if variant.distils:
            return distiller(run, student, context.teacher), note
    return student, note


def _runner(
    context: Context, variant: Variant, model: nn.Module, loader: Any, plan: Schedule, best: Best
) -> ResumableRunner:
    job = cast(TrainJob | DistillJob, context.run.job)
    work = context.work(variant)
    val = val_loader(
        context.run.dataset,
        job.input,
        batch_size=plan.images_per_pass,
        workers=job.training.workers,
        rank=dist.get_rank(),
        world_size=dist.get_world_size(),
    )
    inner = student_of(model)
    save = partial(save_step, folder=work, run=context.fingerprint(variant))
    hooks = [
        ProgressHook(context.reporter, variant.name, plan, job.training.batch_size),
        ValidationHook(
            save,
            context.reporter,
            variant.name,
            plan,
            measure=lambda: validate(
                inner, context.stop.heard_between(val), context.run.dataset, best.hold
            ),
            was_measured=best.saw,
            on_metrics=partial(best.see, model),
        ),
        StopHook(save, context.stop),
    ]
    runner = ResumableRunner(
        model=model,
        work_dir=str(work),
        train_dataloader=loader,
        train_cfg={"by_epoch": False},
        optim_wrapper=optim_wrapper(job.training),
        param_scheduler=schedulers(job.training, plan.steps),
        default_hooks=dict.fromkeys(UNUSED_HOOKS),
        custom_hooks=hooks,
        launcher="pytorch" if dist.is_distributed() else "none",
        env_cfg={"dist_cfg": {"backend": "nccl" if torch.cuda.is_available() else "gloo"}},
        randomness={"seed": job.training.seed},
        default_scope="mmdet",
        log_level="WARNING",
        experiment_name=f"{variant.name}-{uuid.uuid4().hex}",
    )
    runner._train_loop = StepLoop(runner, loader, plan, job.training.accumulation)
    return runner
