from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn

from pgd_core.evaluation.speed import model_cost


def _conv_model() -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.GroupNorm(4, 8), nn.ReLU())


def test_the_cost_of_a_convolution_is_worked_by_hand() -> None:
    model = _conv_model()
    picture = torch.zeros(1, 3, 20, 30)
    cost = model_cost(model, lambda: model(picture), input_size=(20, 30), device="cpu", repeats=1)
    assert cost.parameters == 8 * 3 * 3 * 3 + 8 + 2 * 8
    assert cost.parameters_m == cost.parameters / 1e6
    assert cost.gmacs == pytest.approx(20 * 30 * 8 * 3 * 3 * 3 / 1e9)  # multiply-adds, not twice
    assert (cost.input_height, cost.input_width, cost.device) == (20, 30, "cpu")


def test_a_linear_layer_costs_its_weights_and_norms_are_not_counted() -> None:
    model = nn.Sequential(nn.Linear(40, 50, bias=False), nn.LayerNorm(50))
    rows = torch.zeros(7, 40)
    cost = model_cost(model, lambda: model(rows), input_size=(7, 40), device="cpu", repeats=1)
    assert cost.gmacs == pytest.approx(7 * 40 * 50 / 1e9)


def test_grouped_convolutions_cost_by_group() -> None:
    model = nn.Conv2d(8, 8, 3, padding=1, groups=8)
    picture = torch.zeros(1, 8, 10, 10)
    cost = model_cost(model, lambda: model(picture), input_size=(10, 10), device="cpu", repeats=1)
    assert cost.gmacs == pytest.approx(100 * 8 * 9 / 1e9)


def test_frozen_parameters_count_and_shared_ones_once() -> None:
    first = nn.Linear(4, 4, bias=False)
    first.weight.requires_grad_(False)
    model = nn.Sequential(first, first)
    rows = torch.zeros(1, 4)
    cost = model_cost(model, lambda: model(rows), input_size=(1, 4), device="cpu", repeats=1)
    assert cost.parameters == 16
    assert cost.gmacs == pytest.approx(2 * 16 / 1e9)


def test_latency_is_the_median_after_the_warm_up() -> None:
    model, calls = _conv_model(), []

    def clock() -> Iterator[float]:
        now = 0.0
        for lasted in (0.010, 0.500, 0.020):  # one pass was disturbed
            yield now
            now += lasted
            yield now

    ticks = clock()
    cost = model_cost(
        model,
        lambda: calls.append("forward"),
        predict=lambda: calls.append("predict"),
        input_size=(1, 1),
        device="cpu",
        repeats=3,
        warm_up=2,
        clock=lambda: next(ticks),
    )
    assert calls == ["forward"] + ["predict"] * 5
    assert cost.latency_ms == pytest.approx(20)
    assert cost.latency_p90_ms == pytest.approx(500)


class _Watching(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(2, 2)
        self.seen: list[tuple[bool, bool]] = []

    def forward(self, rows: Tensor) -> Tensor:
        out: Tensor = self.layer(rows)
        self.seen.append((self.training, out.requires_grad))
        return out


def test_the_model_runs_in_evaluation_mode_and_gets_its_modes_back() -> None:
    model = _Watching()
    model.train()
    model.layer.eval()
    model_cost(model, lambda: model(torch.zeros(1, 2)), input_size=(1, 2), device="cpu", repeats=2)
    assert set(model.seen) == {(False, False)}
    assert model.training
    assert not model.layer.training


def test_the_modes_come_back_after_an_error_too() -> None:
    model = _conv_model()

    def fail() -> None:
        raise ValueError("no picture")

    with pytest.raises(ValueError, match="no picture"):
        model_cost(model, fail, input_size=(1, 1), device="cpu")
    assert model.training


@pytest.mark.gpu
def test_a_gpu_is_named_and_waited_for() -> None:
    model = _conv_model().cuda()
    picture = torch.zeros(1, 3, 64, 64, device="cuda")
    cost = model_cost(model, lambda: model(picture), input_size=(64, 64), device="cuda")
    assert cost.device == torch.cuda.get_device_name()
    assert cost.latency_ms > 0
