"""MMEngine's runner with a loop that resumes exactly where a checkpoint was written."""

from __future__ import annotations

from typing import Any, cast

import torch
from mmengine.device import get_device
from mmengine.model import MMDistributedDataParallel
from mmengine.runner import BaseLoop, Runner
from torch import nn
from torch.utils.data import DataLoader

from pgd_core.detectors.distiller import Distiller
from pgd_core.training.sampling import ResumableBatches
from pgd_core.training.schedule import Schedule


class StepLoop(BaseLoop):  # type: ignore[misc]
    """Steps of the optimiser, each of `accumulation` forward passes, to the schedule's end."""

    def __init__(
        self, runner: Runner, dataloader: DataLoader[Any], schedule: Schedule, accumulation: int
    ) -> None:
        super().__init__(runner, dataloader)
        self.schedule, self.accumulation = schedule, accumulation
        self.step = 0

    @property
    def iter(self) -> int:
        """Steps made, by the name that MMEngine's hooks know."""
        return self.step

    @property
    def max_iters(self) -> int:
        """Steps in all."""
        return self.schedule.steps

    @property
    def epoch(self) -> int:
        """Whole epochs made."""
        return int(self.step / self.schedule.steps_per_epoch)

    @property
    def max_epochs(self) -> int:
        """Whole epochs in all."""
        return int(self.schedule.steps / self.schedule.steps_per_epoch)

    def run(self) -> nn.Module:
        """Train from the current step to the last."""
        passes = self.accumulation
        sampler = cast(ResumableBatches, self.dataloader.batch_sampler)
        sampler.start, sampler.stop = self.step * passes, self.schedule.steps * passes
        self.runner.optim_wrapper.initialize_count_status(
            self.runner.model, sampler.start, sampler.stop
        )
        self.runner.call_hook("before_train")
        self.runner.model.train()
        batches = iter(self.dataloader)
        while self.step < self.schedule.steps:
            self.runner.call_hook("before_train_iter", batch_idx=self.step)
            tell_iteration(self.runner.model, self.step)
            outputs = _mean(
                [
                    self.runner.model.train_step(next(batches), self.runner.optim_wrapper)
                    for _ in range(passes)
                ]
            )
            self.step += 1
            self.runner.call_hook("after_train_iter", batch_idx=self.step - 1, outputs=outputs)
        self.runner.call_hook("after_train")
        return cast(nn.Module, self.runner.model)


def _mean(passes: list[dict[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
    """A step's losses: the mean of its passes', so that none that is not finite goes unseen."""
    if len(passes) == 1:
        return passes[0]
    return {name: torch.stack([p[name].detach() for p in passes]).mean(0) for name in passes[0]}


class ResumableRunner(Runner):  # type: ignore[misc]
    """A runner for a model that comes initialised, resumed from a checkpoint of ours."""

    checkpoint: dict[str, Any] | None = None

    def _init_model_weights(self) -> None:
        """Nothing: the model's weights are its own, perhaps partly its teacher's."""

    def _log_env(self, _env_cfg: dict[str, Any]) -> None:
        """Nothing: MMEngine asks compilers for their versions; the manifest has ours."""

    def dump_config(self) -> None:
        """Nothing: the spec is the configuration."""

    def wrap_model(self, _config: dict[str, Any] | None, model: nn.Module) -> nn.Module:
        """On its device, and under DDP where there are several processes, GPU or not."""
        model = model.to(get_device())
        if not self.distributed:
            return model
        ids = [torch.cuda.current_device()] if torch.cuda.is_available() else None
        return cast(
            nn.Module, MMDistributedDataParallel(model, device_ids=ids, broadcast_buffers=False)
        )

    def load_or_resume(self) -> None:
        """Put the checkpoint's state in place, when there is one."""
        if self.checkpoint is not None:
            restore(self, self.checkpoint)


def snapshot(runner: Runner) -> dict[str, Any]:
    """All that the next step depends on: tensors, numbers and strings only."""
    model = unwrapped(runner.model)
    return {
        "step": runner.iter,
        "model": model.state_dict(),
        "optimizer": runner.optim_wrapper.state_dict(),
        "schedulers": [scheduler.state_dict() for scheduler in runner.param_schedulers],
        "counters": _counters(model),
    }


def restore(runner: Runner, state: dict[str, Any]) -> None:
    """The inverse of `snapshot`, into a runner that has built its optimiser."""
    model = unwrapped(runner.model)
    model.load_state_dict(state["model"], strict=True)
    runner.optim_wrapper.load_state_dict(state["optimizer"])
    for scheduler, saved in zip(runner.param_schedulers, state["schedulers"], strict=True):
        scheduler.load_state_dict(saved)
    for name, values in state["counters"].items():
        getattr(_head(model), name)[:] = values
    runner.train_loop.step = state["step"]


def unwrapped(model: nn.Module) -> nn.Module:
    """The model inside DistributedDataParallel."""
    return cast(nn.Module, getattr(model, "module", model))


def student_of(model: nn.Module) -> nn.Module:
    """The detector that is trained: inside a distiller, or the model itself."""
    inner = unwrapped(model)
    return cast(nn.Module, getattr(inner, "student", inner))


def tell_iteration(model: nn.Module, step: int) -> None:
    """Tell a distiller how many steps were made; methods warm up by it."""
    inner = unwrapped(model)
    if isinstance(inner, Distiller):
        inner.iteration = step


def _counters(model: nn.Module) -> dict[str, list[float]]:
    """DDOD weighs its levels by the positives it has counted, which no state dict holds."""
    names = ("cls_num_pos_samples_per_level", "reg_num_pos_samples_per_level")
    head = _head(model)
    return {name: list(getattr(head, name)) for name in names if hasattr(head, name)}


def _head(model: nn.Module) -> Any:
    return cast(Any, student_of(model)).bbox_head
