"""What happens between steps: progress, divergence, a checkpoint with validation, stopping."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from mmengine import dist
from mmengine.hooks import Hook
from mmengine.runner import Runner
from torch import Tensor, nn

from pgd_core.errors import StoppedBySignal, TrainingDiverged
from pgd_core.jobs.methods import METHODS
from pgd_core.training.agreement import agree
from pgd_core.training.checkpoints import save_checkpoint
from pgd_core.training.loop import snapshot
from pgd_core.training.progress import Reporter
from pgd_core.training.schedule import Schedule
from pgd_core.training.stopping import StopRequest

LINES_PER_RUN = 200  # about how many progress lines a run writes
_OF_METHODS = tuple(f"loss_{name}_" for name in METHODS)
CALMER = "lower learning_rate, lengthen warmup_iterations or use precision 'fp32'"


class ProgressHook(Hook):  # type: ignore[misc]
    """A line every few steps; raises TrainingDiverged when a loss stops being finite."""

    priority = "NORMAL"  # before the scheduler moves the learning rate on

    def __init__(
        self, reporter: Reporter, variant: str, schedule: Schedule, images_per_step: int
    ) -> None:
        self.reporter, self.variant, self.schedule = reporter, variant, schedule
        self.images_per_step = images_per_step
        self.interval = min(50, max(1, schedule.steps // LINES_PER_RUN))
        self._finite: Tensor | None = None  # of every step since the last line, on the device
        self._clock: float | None = None  # of the first step since the last line
        self._clock_step = 0

    def before_train_iter(self, runner: Runner, **_: Any) -> None:
        """Start the clock, after a line and the validation that may follow it."""
        if self._clock is None:
            self._clock, self._clock_step = time.monotonic(), runner.iter

    def after_train_iter(self, runner: Runner, outputs: dict[str, Tensor], **_: Any) -> None:
        """Watch each step on the device; look at it, and wait for it, once a line."""
        finite = torch.isfinite(outputs["loss"].detach())
        self._finite = finite if self._finite is None else self._finite & finite
        step = runner.iter
        if step % self.interval and not self.schedule.validates(step):
            return
        self._refuse_divergence(step, outputs)
        losses = {k: float(v.detach()) for k, v in outputs.items() if "loss" in k}
        assert self._clock is not None, "a step ended that had not begun"
        taken_s = max(time.monotonic() - self._clock, 1e-9)
        speed = self.images_per_step * (step - self._clock_step) / taken_s
        self._clock = None
        self.reporter.training(
            self.variant,
            step,
            total_iterations=self.schedule.steps,
            epoch=step / self.schedule.steps_per_epoch,
            losses={k: v for k, v in losses.items() if not _is_distillation(k)},
            distillation_losses={k: v for k, v in losses.items() if _is_distillation(k)},
            learning_rate=runner.optim_wrapper.get_lr()["lr"][0],
            grad_norm=_grad_norm(runner),
            memory_mb=_memory_mb(),
            images_per_s=round(speed, 2),
        )

    def _refuse_divergence(self, step: int, outputs: dict[str, Tensor]) -> None:
        if self._finite is not None and not agree(bool(self._finite), "min"):
            bad = [name for name, value in outputs.items() if not bool(torch.isfinite(value).all())]
            raise TrainingDiverged(
                f"the loss of {self.variant} became NaN or infinite by step {step}"
                + (f" ({', '.join(bad)})" if bad else "")
                + f"; {CALMER}"
            )
        self._finite = None


def _is_distillation(name: str) -> bool:
    return name.startswith(_OF_METHODS)


def _grad_norm(runner: Runner) -> float | None:
    history = runner.message_hub.log_scalars.get("train/grad_norm")
    return None if history is None else round(float(history.current()), 6)


def _memory_mb() -> float:
    """Peak memory: of the GPU's tensors, or of this process without a GPU."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / 2**20
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


class ValidationHook(Hook):  # type: ignore[misc]
    """Validates by the schedule, each time after a checkpoint.

    A run that ends during a validation has lost only that, and begins with it when resumed.
    """

    priority = "VERY_LOW"  # after the scheduler: a checkpoint holds the state of the next step

    def __init__(
        self,
        save: Callable[[Runner], None],
        reporter: Reporter,
        variant: str,
        schedule: Schedule,
        measure: Callable[[], dict[str, Any]],
        was_measured: Callable[[int], bool],
        on_metrics: Callable[[int, dict[str, Any]], None],
    ) -> None:
        self.save, self.reporter, self.variant, self.schedule = save, reporter, variant, schedule
        self.measure, self.was_measured, self.on_metrics = measure, was_measured, on_metrics

    def before_train(self, runner: Runner) -> None:
        """Make up for the validation that the checkpoint was written before."""
        step = runner.iter
        if step and self.schedule.validates(step) and not self.was_measured(step):
            self._validate(step)

    def after_train_iter(self, runner: Runner, **_: Any) -> None:
        """Save, measure, tell."""
        if self.schedule.validates(runner.iter):
            _refuse_broken_weights(runner.model, self.variant, runner.iter)
            self.save(runner)
            self._validate(runner.iter)

    def _validate(self, step: int) -> None:
        metrics = self.measure()
        self.on_metrics(step, metrics)
        self.reporter.validation(
            self.variant,
            step,
            total_iterations=self.schedule.steps,
            epoch=step / self.schedule.steps_per_epoch,
            metrics=metrics,
        )


def _refuse_broken_weights(model: nn.Module, variant: str, step: int) -> None:
    """A loss is as finite as the weights before the step; these are the ones after it."""
    finite = torch.stack([p.detach().isfinite().all() for p in model.parameters()]).all()
    if not agree(bool(finite), "min"):
        raise TrainingDiverged(
            f"the weights of {variant} became NaN or infinite by step {step}; {CALMER}"
        )


class StopHook(Hook):  # type: ignore[misc]
    """Ends the run between two steps, with a checkpoint, once it is asked to stop."""

    priority = "LOWEST"

    def __init__(self, save: Callable[[Runner], None], stop: StopRequest) -> None:
        self.save, self.stop = save, stop

    def after_train_iter(self, runner: Runner, **_: Any) -> None:
        """All processes stop at the same step."""
        if not self.stop.agreed():
            return
        self.save(runner)
        raise StoppedBySignal(f"stopped after step {runner.iter}, with a checkpoint")


def save_step(runner: Runner, folder: Path, run: str) -> None:
    """A checkpoint by the first process; the others wait for it."""
    if dist.is_main_process():
        save_checkpoint(folder, runner.iter, snapshot(runner), run)
    dist.barrier()
