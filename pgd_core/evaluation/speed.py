"""What a model costs: parameters, multiply-adds of one forward pass, and time."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

FLOPS_PER_MULTIPLY_ADD = 2  # torch counts a multiplication and an addition as two


@dataclass(frozen=True)
class ModelCost:
    """`gmacs` is what detection papers and MMDetection call "GFLOPs": 10⁹ multiply-adds.

    Counted are convolutions, matrix products and attention, which hold nearly all the work;
    normalisation, activation, resizing and NMS are not. A deformable convolution counts where it
    is computed by torch operators; compiled ones of other packages are invisible.
    """

    parameters: int  # exact, frozen ones included
    gmacs: float
    latency_ms: float  # median of the timed passes
    latency_p90_ms: float  # nine of ten passes were at least this fast
    input_height: int  # pixels
    input_width: int
    device: str
    repeats: int

    @property
    def parameters_m(self) -> float:
        """Millions."""
        return self.parameters / 1e6


def model_cost(
    model: nn.Module,
    forward: Callable[[], object],
    *,
    input_size: tuple[int, int],  # (height, width), pixels of the one image `forward` is given
    device: torch.device | str,
    predict: Callable[[], object] | None = None,
    repeats: int = 20,
    warm_up: int = 5,
    clock: Callable[[], float] = time.perf_counter,  # seconds
) -> ModelCost:
    """Runs the model on one image in evaluation mode, without gradients.

    `forward` runs the network alone (backbone, neck, head) and is counted. `predict`, where
    given, is timed instead of it: from the prepared tensor to the final boxes, NMS included.
    """
    assert repeats >= 1, repeats
    device = torch.device(device)
    with _evaluating(model):
        gmacs = _gmacs(forward)
        times = _pass_times(predict or forward, device, repeats, warm_up, clock)
    return ModelCost(
        parameters=sum(parameter.numel() for parameter in model.parameters()),
        gmacs=gmacs,
        latency_ms=1000 * statistics.median(times),
        latency_p90_ms=1000 * sorted(times)[min(len(times) - 1, int(0.9 * len(times)))],
        input_height=input_size[0],
        input_width=input_size[1],
        device=_device_name(device),
        repeats=repeats,
    )


@contextmanager
def _evaluating(model: nn.Module) -> Iterator[None]:
    """Evaluation mode inside, each module's own mode again afterwards."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for module, training in modes:
            module.training = training


def _gmacs(forward: Callable[[], object]) -> float:
    with FlopCounterMode(display=False) as counter:
        forward()
    return float(counter.get_total_flops()) / FLOPS_PER_MULTIPLY_ADD / 1e9


def _pass_times(
    run: Callable[[], object],
    device: torch.device,
    repeats: int,
    warm_up: int,
    clock: Callable[[], float],
) -> list[float]:
    """Seconds of each pass after the warm-up."""
    for _ in range(warm_up):
        run()
    times = []
    for _ in range(repeats):
        _wait_for(device)
        start = clock()
        run()
        _wait_for(device)
        times.append(clock() - start)
    return times


def _wait_for(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _device_name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
