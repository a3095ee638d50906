from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
from mmengine.optim import OptimWrapper
from mmengine.registry import PARAM_SCHEDULERS

from pgd_core.errors import InvalidSpec
from pgd_core.jobs.spec import TrainingSpec
from pgd_core.training.schedule import (
    images_per_pass,
    learning_rate,
    optim_wrapper,
    schedule,
    schedulers,
)


def rates(spec: TrainingSpec, steps: int) -> list[float]:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=learning_rate(spec))
    wrapper = OptimWrapper(optimizer)
    made = [
        PARAM_SCHEDULERS.build(config, default_args={"optimizer": wrapper})
        for config in schedulers(spec, steps)
    ]
    seen = []
    for _ in range(steps):
        seen.append(optimizer.param_groups[0]["lr"])
        wrapper.step()
        for scheduler in made:
            scheduler.step()
    return seen


def test_1x_is_twelve_epochs_with_steps_after_eight_and_eleven() -> None:
    spec = TrainingSpec(warmup_iterations=0, batch_size=32)
    assert schedule(spec, 10, 1).steps == 120
    seen = rates(spec, 120)
    assert seen[:80] == pytest.approx([0.02] * 80)
    assert seen[80:110] == pytest.approx([0.002] * 30)
    assert seen[110:] == pytest.approx([0.0002] * 10)


def test_warm_up_is_linear_and_never_more_than_a_third() -> None:
    seen = rates(TrainingSpec(warmup_iterations=500, batch_size=32, warmup_factor=0.1), 30)
    assert seen[0] == pytest.approx(0.002)
    assert seen[10] == pytest.approx(0.02)
    differences = [b - a for a, b in itertools.pairwise(seen[:10])]
    assert differences == pytest.approx([differences[0]] * 9)


@pytest.mark.parametrize("warmup", [0, 1, 2, 3])
def test_the_shortest_warm_ups_end_too(warmup: int) -> None:
    spec = TrainingSpec(warmup_iterations=warmup, batch_size=32, milestones=())
    assert rates(spec, 30)[warmup:] == pytest.approx([0.02] * (30 - warmup))


def test_a_cosine_ends_near_zero() -> None:
    seen = rates(TrainingSpec(policy="cosine", warmup_iterations=10, batch_size=32), 100)
    assert max(seen) == pytest.approx(0.02)
    assert seen[-1] < 0.0001


def test_the_rate_scales_with_the_batch_unless_told_not_to() -> None:
    assert learning_rate(TrainingSpec(batch_size=8)) == pytest.approx(0.005)
    assert learning_rate(TrainingSpec(batch_size=8, learning_rate_batch=None)) == 0.02


def test_iterations_count_optimiser_steps_and_accumulation_shortens_an_epoch() -> None:
    plan = schedule(TrainingSpec(epochs=2, batch_size=8, accumulation=2), 10, 1)
    assert (plan.steps, plan.steps_per_epoch, plan.images_per_pass) == (10, 5, 4)
    assert schedule(TrainingSpec(iterations=7), 10, 1).steps == 7


def test_the_last_step_is_always_validated() -> None:
    plan = schedule(TrainingSpec(iterations=7, validation_interval=0.5), 6, 1)
    assert [s for s in range(1, 8) if plan.validates(s)] == [3, 6, 7]


def test_a_batch_that_processes_cannot_share_is_refused_with_the_way_out() -> None:
    assert images_per_pass(TrainingSpec(batch_size=8, accumulation=2), 2) == 2
    with pytest.raises(InvalidSpec, match="multiple of 6"):
        images_per_pass(TrainingSpec(batch_size=8, accumulation=2), 3)


@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU does fp16")
def test_fp16_without_a_gpu_is_refused() -> None:
    with pytest.raises(InvalidSpec, match="bf16"):
        optim_wrapper(TrainingSpec(precision="fp16"))


def test_adamw_takes_no_momentum() -> None:
    wrapper: dict[str, Any] = optim_wrapper(TrainingSpec(optimizer="adamw"))
    assert wrapper["optimizer"]["type"] == "AdamW"
    assert "momentum" not in wrapper["optimizer"]
