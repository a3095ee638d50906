"""What PGD's loss costs in time and memory, beside the training step it belongs to.

    python -m tests.benchmarks.bench_pgd_loss [--device cuda] [--cpu-time] [--json FILE]

A batch of COCO's size (1333x800, padded to 1344x800, five levels, 80 classes, 256 channels). The
step is measured in the same run: FCOS with ResNet-101 forward (the teacher) and FCOS with
ResNet-50 forward, backward and SGD (the student). Memory is in feature maps: one map of the
finest level, N x 256 x 100 x 168 in float32. `--cpu-time` counts the processor's seconds, summed
over threads, for a machine that is shared with other work; set OMP_NUM_THREADS=1 with it, because
threads that wait for each other spin. Otherwise the wall clock counts.
"""

from __future__ import annotations

import argparse
import gc
import json
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor

from pgd_core.distill import (
    STRATEGIES,
    GroundTruth,
    PgdParameters,
    TeacherPredictions,
    TowerFeatures,
)
from pgd_core.distill.weighting import distillation_masks
from tests.pgd_core.distill.views import pgd

IMAGE = (800, 1333)  # (height, width), pixels
PADDED = (800, 1344)
STRIDES = (8, 16, 32, 64, 128)
LEVEL_SIZES = ((100, 168), (50, 84), (25, 42), (13, 21), (7, 11))
CLASSES, CHANNELS = 80, 256


@dataclass(frozen=True)
class Cost:
    """Medians of one number of objects an image."""

    objects: int
    weighting_ms: float
    forward_ms: float  # of all losses, the weighting included
    backward_ms: float
    share_of_step: float | None
    peak_maps: float  # most memory held at once, beyond the inputs
    kept_maps: float  # held from forward to backward, beyond the inputs


@dataclass(frozen=True)
class Step:
    """The training step without distillation loss."""

    teacher_ms: float
    student_ms: float

    @property
    def total_ms(self) -> float:
        return self.teacher_ms + self.student_ms


@dataclass(frozen=True)
class Batch:
    teacher: TowerFeatures
    student: TowerFeatures
    predictions: TeacherPredictions
    truth: GroundTruth


def main() -> None:
    options = read_options()
    torch.manual_seed(0)
    step = None if options.skip_step else measure_step(options)
    costs = [measure_loss(options, objects, step) for objects in options.objects]
    show(options, step, costs)
    if options.json:
        report = {"step": step and asdict(step), "costs": [asdict(cost) for cost in costs]}
        options.json.write_text(json.dumps(report, indent=2) + "\n")


def read_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--images", type=int, default=2, help="images a step")
    parser.add_argument("--objects", type=int, nargs="+", default=[0, 7, 30, 100])
    parser.add_argument("--strategy", choices=STRATEGIES, default="pgw")
    parser.add_argument("--repeats", type=int, default=7, help="of the losses; the median counts")
    parser.add_argument("--step-repeats", type=int, default=3, help="of the training step")
    parser.add_argument("--skip-step", action="store_true", help="measure the losses alone")
    parser.add_argument("--cpu-time", action="store_true", help="count processor time")
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    return parser.parse_args()


def measure_loss(options: argparse.Namespace, objects: int, step: Step | None) -> Cost:
    batch = make_batch(options.images, objects, options.device)
    hyper = replace(PgdParameters.preset("fcos"), strategy=options.strategy)
    method = pgd(hyper)
    levels = batch.student.cls + batch.student.reg

    def forward() -> Tensor:
        losses = method(batch.teacher, batch.student, batch.predictions, batch.truth)
        return torch.stack(list(losses.values())).sum()

    def weigh() -> None:
        distillation_masks(batch.predictions, batch.truth, hyper)

    def both() -> None:
        torch.autograd.grad(forward(), levels)

    weighting_ms, forward_ms, both_ms = medians_ms([weigh, forward, both], options.repeats, options)
    one_map = 4 * options.images * CHANNELS * LEVEL_SIZES[0][0] * LEVEL_SIZES[0][1]
    return Cost(
        objects,
        weighting_ms,
        forward_ms,
        both_ms - forward_ms,
        both_ms / step.total_ms if step else None,
        peak_bytes(both, options.device) / one_map,
        kept_bytes(forward, batch) / one_map,
    )


def make_batch(images: int, objects: int, device: str) -> Batch:
    """A teacher that finds the objects: boxes near its positions' own, features after a ReLU."""
    points = torch.cat(
        [
            torch.cartesian_prod(torch.arange(h) + 0.5, torch.arange(w) + 0.5).flip(1) * stride
            for (h, w), stride in zip(LEVEL_SIZES, STRIDES, strict=True)
        ]
    )
    sizes = torch.exp(torch.rand(images, objects, 2) * 4 + 2.5)  # 12 to 665 pixels
    limits = torch.tensor([IMAGE[1], IMAGE[0]])
    corners = torch.rand(images, objects, 2) * (limits - sizes).clamp(min=0)
    boxes = torch.cat([corners, (corners + sizes).minimum(limits)], dim=-1)
    reach = torch.exp(torch.rand(images, len(points), 2, 2) * 4 + 1.8)
    found = torch.cat([points - reach[..., 0], points + reach[..., 1]], dim=-1)
    logits = torch.randn(images, len(points), CLASSES) - 2
    truth = GroundTruth.from_lists(
        list(boxes),
        list(torch.randint(CLASSES, (images, objects))),
        [torch.zeros(0, 4)] * images,
        [IMAGE] * images,
        device,
    )
    predictions = TeacherPredictions(
        points.to(device), found.to(device), logits.to(device), LEVEL_SIZES
    )
    return Batch(
        make_features(images, device, False),
        make_features(images, device, True),
        predictions,
        truth,
    )


def make_features(images: int, device: str, requires_grad: bool) -> TowerFeatures:
    towers = (
        [
            torch.randn(images, CHANNELS, *size, device=device)
            .relu_()
            .requires_grad_(requires_grad)
            for size in LEVEL_SIZES
        ]
        for _ in range(2)
    )
    return TowerFeatures(*towers)


def measure_step(options: argparse.Namespace) -> Step:
    """FCOS, its compiled operators replaced where they are absent."""
    from pgd_core.detectors.operators import install

    install()
    from mmdet.structures import DetDataSample
    from mmengine.structures import InstanceData

    teacher, student = build_fcos(101, options.device).eval(), build_fcos(50, options.device)
    optimiser = torch.optim.SGD(
        [weight for weight in student.parameters() if weight.requires_grad],
        lr=1e-4,
        momentum=0.9,
        weight_decay=1e-4,
    )
    truth = make_batch(options.images, 7, "cpu").truth
    samples = []
    for boxes, labels in zip(truth.boxes, truth.labels, strict=True):
        sample = DetDataSample(
            metainfo={"img_shape": IMAGE, "batch_input_shape": PADDED, "pad_shape": PADDED}
        )
        sample.gt_instances = InstanceData(bboxes=boxes, labels=labels).to(options.device)
        samples.append(sample)
    pictures = torch.randn(options.images, 3, *PADDED, device=options.device)

    @torch.no_grad()
    def teach() -> None:
        teacher(pictures, mode="tensor")

    def learn() -> None:
        total, _ = student.parse_losses(student(pictures, samples, mode="loss"))
        optimiser.zero_grad()
        total.backward()
        optimiser.step()

    return Step(*medians_ms([teach, learn], options.step_repeats, options))


def build_fcos(depth: int, device: str) -> Any:
    """FCOS as MMDetection has it, frozen BN, GN in the head; with any weights."""
    from mmdet.registry import MODELS
    from mmdet.utils import register_all_modules

    register_all_modules()
    config = {
        "type": "FCOS",
        "backbone": {
            "type": "ResNet",
            "depth": depth,
            "num_stages": 4,
            "out_indices": (0, 1, 2, 3),
            "frozen_stages": 1,
            "norm_cfg": {"type": "BN", "requires_grad": False},
            "norm_eval": True,
        },
        "neck": {
            "type": "FPN",
            "in_channels": [256, 512, 1024, 2048],
            "out_channels": CHANNELS,
            "start_level": 1,
            "add_extra_convs": "on_output",
            "num_outs": 5,
            "relu_before_extra_convs": True,
        },
        "bbox_head": {
            "type": "FCOSHead",
            "num_classes": CLASSES,
            "in_channels": CHANNELS,
            "strides": STRIDES,
            "norm_cfg": {"type": "GN", "num_groups": 32, "requires_grad": True},
        },
    }
    return MODELS.build(config).to(device).train()


def medians_ms(
    calls: list[Callable[[], object]], repeats: int, options: argparse.Namespace
) -> list[float]:
    """Median of each call, taken in turns, after one round that is not counted."""
    clock = time.process_time if options.cpu_time else time.perf_counter
    rounds = []
    for _ in range(repeats + 1):
        times = []
        for call in calls:
            start = clock()
            call()
            if options.device != "cpu":
                torch.cuda.synchronize()
            times.append(1e3 * (clock() - start))
        rounds.append(times)
    return [statistics.median(times) for times in zip(*rounds[1:], strict=True)]


def peak_bytes(call: Callable[[], object], device: str) -> float:
    """Most bytes held at once during the call, beyond those held before it."""
    gc.collect()
    if device != "cpu":
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        call()
        return torch.cuda.max_memory_allocated() - before
    with torch.profiler.profile(
        activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True
    ) as profile:
        call()
    held = peak = 0
    events = profile.profiler.kineto_results.events()
    for event in sorted(events, key=lambda event: event.start_ns()):
        if event.name() == "[memory]":
            held += event.nbytes()
            peak = max(peak, held)
    return peak


def kept_bytes(forward: Callable[[], Tensor], batch: Batch) -> float:
    """Bytes that the graph holds from forward to backward and that are not the batch's own."""
    kept: dict[int, int] = {}

    def note(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        total = forward()  # keeps the graph, so that no address is used twice
    for features in (batch.teacher, batch.student):
        for level in features.cls + features.reg:
            kept.pop(level.untyped_storage().data_ptr(), None)
    del total
    return sum(kept.values())


def show(options: argparse.Namespace, step: Step | None, costs: list[Cost]) -> None:
    console = Console(file=sys.stdout)
    console.print(
        f"torch {torch.__version__}, {options.device}, {torch.get_num_threads()} threads, "
        f"{options.images} images of {PADDED[1]}x{PADDED[0]}, "
        f"{'processor' if options.cpu_time else 'wall'} time"
    )
    if step:
        console.print(
            f"the step: teacher forward {step.teacher_ms:.0f} ms, student forward, backward and "
            f"SGD {step.student_ms:.0f} ms"
        )
    table = Table(
        "objects",
        "weighting ms",
        "forward ms",
        "backward ms",
        "of step",
        "peak maps",
        "kept maps",
    )
    for cost in costs:
        table.add_row(
            str(cost.objects),
            f"{cost.weighting_ms:.0f}",
            f"{cost.forward_ms:.0f}",
            f"{cost.backward_ms:.0f}",
            "-" if cost.share_of_step is None else f"{cost.share_of_step:.2%}",
            f"{cost.peak_maps:.2f}",
            f"{cost.kept_maps:.2f}",
        )
    console.print(table)


if __name__ == "__main__":
    main()
