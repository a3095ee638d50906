"""From a `TrainingSpec` to steps, learning rates and MMEngine's optimiser wrapper."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from mmengine.optim import AmpOptimWrapper, OptimWrapper
from mmengine.registry import OPTIM_WRAPPERS
from torch import nn

from pgd_core.errors import InvalidSpec
from pgd_core.jobs.spec import TrainingSpec

Config = dict[str, Any]
DEFAULT_EPOCHS = 12  # 1x


@dataclass(frozen=True)
class Schedule:
    """The length of a run; a step is one step of the optimiser."""

    steps: int
    steps_per_epoch: float
    validation_steps: int  # between validations
    images_per_pass: int  # of one process in one forward pass

    def validates(self, step: int) -> bool:
        """Whether a validation follows the `step`-th step (counted from 1)."""
        return step % self.validation_steps == 0 or step == self.steps


def images_per_pass(spec: TrainingSpec, world_size: int) -> int:
    """Images of one process in one forward pass; InvalidSpec where the batch cannot be shared."""
    share, rest = divmod(spec.batch_size, spec.accumulation * world_size)
    if rest:
        raise InvalidSpec(
            f"batch_size {spec.batch_size} cannot be shared by {world_size} processes of "
            f"{spec.accumulation} passes; make it a multiple of {spec.accumulation * world_size}"
        )
    return share


def schedule(spec: TrainingSpec, passes_per_epoch: int, world_size: int) -> Schedule:
    """The run's length in steps, from the passes that one process makes in an epoch."""
    per_epoch = passes_per_epoch / spec.accumulation
    epochs = spec.epochs or DEFAULT_EPOCHS
    steps = spec.iterations or max(1, round(epochs * per_epoch))
    return Schedule(
        steps=steps,
        steps_per_epoch=per_epoch,
        validation_steps=max(1, round(spec.validation_interval * per_epoch)),
        images_per_pass=images_per_pass(spec, world_size),
    )


def learning_rate(spec: TrainingSpec) -> float:
    """The peak rate after linear scaling to the batch."""
    if spec.learning_rate_batch is None:
        return spec.learning_rate
    return spec.learning_rate * spec.batch_size / spec.learning_rate_batch


def schedulers(spec: TrainingSpec, steps: int) -> list[Config]:
    """MMEngine's schedulers: a linear warm-up, then steps or a cosine, all counted in steps."""
    warmup = min(spec.warmup_iterations, steps // 3)
    rates: list[Config] = []
    if warmup > 1:  # MMEngine's never ends when it has one step
        rates.append(
            {
                "type": "LinearLR",
                "start_factor": spec.warmup_factor,
                "by_epoch": False,
                "begin": 0,
                "end": warmup,
            }
        )
    if spec.policy == "cosine":
        main = {"type": "CosineAnnealingLR", "T_max": steps - warmup, "eta_min": 0.0}
        return [*rates, {**main, "by_epoch": False, "begin": warmup, "end": steps}]
    milestones = [max(warmup + 1, round(m * steps)) for m in spec.milestones]
    main = {"type": "MultiStepLR", "milestones": milestones, "gamma": 0.1}
    return [*rates, {**main, "by_epoch": False, "begin": 0, "end": steps}]


def optim_wrapper(spec: TrainingSpec) -> Config:
    """MMEngine's optimiser wrapper; norm layers and biases are decayed as MMDetection does."""
    if spec.optimizer == "sgd":
        optimizer: Config = {"type": "SGD", "momentum": spec.momentum}
    else:
        optimizer = {"type": "AdamW"}
    optimizer |= {"lr": learning_rate(spec), "weight_decay": spec.weight_decay}
    wrapper: Config = {
        "type": "OptimWrapper",
        "optimizer": optimizer,
        "accumulative_counts": spec.accumulation,
        "clip_grad": {"max_norm": spec.clip_grad_norm or float("inf"), "norm_type": 2},
    }
    if spec.precision == "bf16":
        wrapper["type"] = "Bf16OptimWrapper"
    elif spec.precision == "fp16":
        if not torch.cuda.is_available():
            raise InvalidSpec("precision 'fp16' needs a GPU; on a CPU use 'bf16' or 'fp32'")
        wrapper |= {"type": AmpOptimWrapper.__name__, "dtype": "float16"}
    return wrapper


@OPTIM_WRAPPERS.register_module(force=True)
class Bf16OptimWrapper(OptimWrapper):  # type: ignore[misc]
    """bfloat16 autocast on any device; MMEngine's own insists on a GPU. Needs no loss scaling."""

    @contextmanager
    def optim_context(self, model: nn.Module) -> Iterator[None]:
        """Autocast around the forward pass."""
        device = next(model.parameters()).device.type
        with super().optim_context(model), torch.autocast(device, dtype=torch.bfloat16):
            yield
