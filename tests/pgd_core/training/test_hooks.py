from __future__ import annotations

from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch
from torch import nn

from pgd_core.errors import TrainingDiverged
from pgd_core.training import hooks
from pgd_core.training.hooks import ProgressHook, ValidationHook
from pgd_core.training.progress import Reporter
from pgd_core.training.schedule import Schedule
from tests.pgd_core.training.runs import lines

EVERY_STEP = Schedule(steps=4, steps_per_epoch=2, validation_steps=1, images_per_pass=8)


def runner(step: int, model: nn.Module | None = None) -> Any:
    """What a hook reads of MMEngine's runner."""
    return SimpleNamespace(
        iter=step,
        model=model,
        optim_wrapper=SimpleNamespace(get_lr=lambda: {"lr": [0.1]}),
        message_hub=SimpleNamespace(log_scalars={}),
    )


def test_a_validation_does_not_slow_the_images_per_second(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0.0]
    monkeypatch.setattr(hooks.time, "monotonic", lambda: now[0])
    hook = ProgressHook(Reporter(tmp_path / "progress.jsonl"), "plain", EVERY_STEP, 8)
    for step in range(2):
        hook.before_train_iter(runner(step))
        now[0] += 2.0
        hook.after_train_iter(runner(step + 1), {"loss": torch.tensor(1.0)})
        now[0] += 100.0  # of validation
    assert [line["images_per_s"] for line in lines(tmp_path, "train")] == [4.0, 4.0]


def test_weights_that_a_step_broke_are_neither_saved_nor_measured(tmp_path: Path) -> None:
    """The loss was finite: it belongs to the weights before the step."""
    model = nn.Linear(2, 2)
    cast(Any, model.weight).data[0, 0] = torch.nan
    never = cast(Any, None)
    save = partial(hooks.save_step, folder=tmp_path, run="")
    hook = ValidationHook(save, Reporter(None), "plain", EVERY_STEP, never, never, never)
    with pytest.raises(TrainingDiverged, match=r"weights of plain.*step 3.*learning_rate"):
        hook.after_train_iter(runner(3, model))
    assert not list(tmp_path.iterdir())
