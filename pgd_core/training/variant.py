"""One run of training: the distilled student, one of its twins, or a plain detector."""

from __future__ import annotations

import json
import shutil
import uuid
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, cast

import torch
from mmengine import dist
from mmengine.runner import set_random_seed
from safetensors.torch import save_file
from torch import nn

from pgd_core.detectors.weights import inherit_head
from pgd_core.errors import InvalidSpec
from pgd_core.evaluation.detections import Detections, write_detections
from pgd_core.evaluation.pictures import SHOWN_FROM
from pgd_core.jobs.run import WORK_FOLDER, RunSpec
from pgd_core.jobs.spec import DistillJob, TrainJob
from pgd_core.training.checkpoints import newest_checkpoint, write_atomically
from pgd_core.training.data import train_loader, val_loader
from pgd_core.training.hooks import ProgressHook, StopHook, StopRequest, ValidationHook
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
from pgd_core.training.validation import validate

FINISHED = "finished.json"
WEIGHTS = "weights.safetensors"
FOUND = "found.npz"  # by these weights in the validation pictures
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
    done = _finished_before(context, variant)
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


def _finished_before(context: Context, variant: Variant) -> dict[str, Any] | None:
    for folder in context.earlier(variant):
        if (folder / FINISHED).exists():
            if dist.is_main_process():
                _bring(folder, context.work(variant), WEIGHTS, FOUND, FINISHED)
            dist.barrier()
            return cast(dict[str, Any], json.loads((folder / FINISHED).read_bytes()))
    return None


def _bring(earlier: Path, folder: Path, *names: str) -> None:
    """Copy files of an earlier attempt, each whole; the last of them says that all are there.

    FOUND may be missing: an earlier release did not write it.
    """
    if earlier == folder:
        return
    folder.mkdir(parents=True, exist_ok=True)
    for name in (n for n in names if n != FOUND or (earlier / n).exists()):
        write_atomically(folder / name, partial(shutil.copyfile, earlier / name))


def _train(context: Context, variant: Variant, loader: Any, plan: Schedule) -> dict[str, Any]:
    training = cast(TrainJob | DistillJob, context.run.job).training
    model, inheritance = _starting_model(context, variant)
    best = _Best(context.work(variant), model, keep=training.keep == "best")
    checkpoint = newest_checkpoint(context.earlier(variant))
    runner = _runner(context, variant, model, loader, plan, best)
    if checkpoint is not None:
        best.recall(context.earlier(variant), checkpoint["step"])
        runner.checkpoint = checkpoint
    step = checkpoint["step"] if checkpoint else 0
    message = f"training, from step {step} of {plan.steps}"
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
    context: Context, variant: Variant, model: nn.Module, loader: Any, plan: Schedule, best: _Best
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
    hooks = [
        ProgressHook(context.reporter, variant.name, plan, job.training.batch_size),
        ValidationHook(
            work,
            context.reporter,
            variant.name,
            plan,
            measure=lambda: validate(
                inner, val, context.run.dataset, context.stop.check_alone, best.hold
            ),
            was_measured=best.saw,
            on_metrics=best.see,
        ),
        StopHook(work, context.stop),
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


class _Best:
    """Keeps the weights that become the output: the last, or those of the highest AP."""

    def __init__(self, folder: Path, model: nn.Module, *, keep: bool) -> None:
        self.folder, self.model, self.keep = folder, model, keep
        self.record: dict[str, Any] = {}  # step and metrics of the kept weights
        self.history: list[dict[str, Any]] = []
        self.found: list[Detections] = []  # in the validation that is about to be seen

    def hold(self, found: list[Detections]) -> None:
        """What the weights found, before their metrics are seen."""
        self.found = found

    def see(self, step: int, metrics: dict[str, Any]) -> None:
        """After a validation."""
        entry = {"step": step, "metrics": metrics}
        found, self.found = self.found, []
        self.history.append(entry)
        if not self._becomes_output(metrics):
            return
        self.record = entry
        if dist.is_main_process():
            self.folder.mkdir(parents=True, exist_ok=True)
            weights = {k: v.contiguous() for k, v in student_of(self.model).state_dict().items()}
            write_atomically(self.folder / WEIGHTS, lambda tmp: save_file(weights, tmp))
            write_atomically(
                self.folder / FOUND, lambda tmp: write_detections(tmp, found, SHOWN_FROM)
            )
            self._write("best.json", {"kept": self.record, "history": self.history})

    def saw(self, step: int) -> bool:
        """Whether the validation after this step is on record."""
        return any(entry["step"] == step for entry in self.history)

    def _becomes_output(self, metrics: dict[str, Any]) -> bool:
        """Without objects to find there is no AP and no best: the last is kept."""
        best = self.record["metrics"]["AP"] if self.record else None
        return not self.keep or best is None or metrics["AP"] > best

    def recall(self, folders: list[Path], step: int) -> None:
        """What the attempt that is resumed had seen up to its checkpoint."""
        for folder in folders:
            if (folder / "best.json").exists() and (folder / WEIGHTS).exists():
                seen = json.loads((folder / "best.json").read_bytes())
                self.record = seen["kept"]
                self.history = [entry for entry in seen["history"] if entry["step"] <= step]
                if dist.is_main_process():
                    _bring(folder, self.folder, WEIGHTS, FOUND, "best.json")
                return

    def finish(self) -> dict[str, Any]:
        """The run is over: write and return what it came to."""
        finished = {**self.record, "history": self.history}
        if dist.is_main_process():
            self._write(FINISHED, finished)
        dist.barrier()
        return finished

    def _write(self, name: str, content: dict[str, Any]) -> None:
        write_atomically(self.folder / name, lambda tmp: tmp.write_text(json.dumps(content)))
