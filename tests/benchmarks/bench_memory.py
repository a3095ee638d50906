"""Measures what `pgd_core.jobs.memory` estimates: one training step of each case in
`tests/pgd_core/jobs/memory_measured.json`.

    python -m tests.benchmarks.bench_memory > memory_measured.json

`saved_mb` is what the forward pass keeps for the backward pass, `peak_mb` the most that a step held
at once beside the weights. On a CPU the peak is counted from torch's allocations; on a GPU
(`--device cuda`) it is the allocator's own.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from mmdet.structures import DetDataSample
from mmengine.structures import InstanceData
from torch import nn
from torch.profiler import ProfilerActivity, profile

from pgd_core.detectors.build import build_detector
from pgd_core.detectors.distiller import Distiller
from pgd_core.distill import Setting
from pgd_core.distill.methods import build_method
from pgd_core.jobs.sizes import STRIDES
from pgd_core.jobs.spec import BackboneSpec, DetectorSpec

CASES = Path(__file__).parents[1] / "pgd_core/jobs/memory_measured.json"
OBJECTS = 6  # of a picture
MEBIBYTE = 2**20


def measure(case: dict[str, Any], device: str = "cpu") -> dict[str, Any]:
    """The case with what its step took."""
    torch.manual_seed(0)
    model, detector = _model(case)
    model.to(device)
    step = _step(model, case, device)
    saved = _saved_bytes(model, lambda: step(False))
    model.zero_grad(set_to_none=True)
    peak = _peak_bytes(lambda: step(True), device)
    count = [sum(p.numel() for p in of.parameters()) for of in (detector, detector.backbone)]
    found = {"params": count[0], "bparams": count[1]}
    return case | found | {"saved_mb": saved / MEBIBYTE, "peak_mb": peak / MEBIBYTE}


def _model(case: dict[str, Any]) -> tuple[nn.Module, Any]:
    """(what trains, the detector in it)."""
    backbone = BackboneSpec(
        **case["bb"], frozen_stages=case["frozen"], freeze_batch_norm=case["fbn"]
    )
    spec = DetectorSpec(
        detector=case["det"], backbone=backbone, head_width=case["width"], head_convs=case["convs"]
    )
    detector = build_detector(spec, case["classes"]).train()
    if not case["teacher"]:
        return detector, detector
    of_teacher = spec.model_copy(update={"backbone": BackboneSpec(**case["teacher"])})
    family = "resnet" if backbone.name.startswith("resnet") else "mobilenet_v2"
    setting = Setting(spec.detector, family, "coco", spec.head_width, STRIDES)
    teacher = build_detector(of_teacher, case["classes"])
    return Distiller(detector, teacher, build_method(case["method"], setting, {})).train(), detector


def _step(model: Any, case: dict[str, Any], device: str) -> Callable[[bool], Any]:
    height, width = case["h"], case["w"]
    pictures = torch.randn(case["batch"], 3, height, width, device=device)
    pictures = pictures.to(memory_format=torch.channels_last)
    truth = [_truth(height, width, case["classes"], device) for _ in range(case["batch"])]

    def step(backward: bool) -> Any:
        with torch.autocast(device, dtype=torch.bfloat16, enabled=case["prec"] == "bf16"):
            losses = model(pictures, truth, mode="loss")
        terms = [v if isinstance(v, list) else [v] for k, v in losses.items() if "loss" in k]
        total = sum(term.sum() for group in terms for term in group)
        if backward:
            total.backward()
        return total

    return step


def _truth(height: int, width: int, classes: int, device: str) -> DetDataSample:
    size = (height, width)
    meta = dict.fromkeys(("img_shape", "ori_shape", "pad_shape", "batch_input_shape"), size)
    sample = DetDataSample(metainfo=meta | {"scale_factor": (1, 1)})
    corner = torch.rand(OBJECTS, 2) * torch.tensor([width, height]) * 0.6
    sides = torch.rand(OBJECTS, 2) * torch.tensor([width, height]) * 0.35 + 8
    boxes = torch.cat([corner, corner + sides], 1).to(device)
    labels = torch.randint(0, classes, (OBJECTS,), device=device)
    sample.gt_instances = InstanceData(bboxes=boxes, labels=labels)
    sample.ignored_instances = InstanceData(bboxes=boxes[:0], labels=labels[:0])
    return sample


def _saved_bytes(model: nn.Module, forward: Callable[[], Any]) -> int:
    """Of every storage that is kept for the backward pass, the weights' own left out."""
    weights = {p.untyped_storage().data_ptr() for p in model.parameters()}
    found: dict[int, int] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            found[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        total = forward()  # alive, so that no storage is used twice
    del total
    return sum(found.values())


def _peak_bytes(step: Callable[[], Any], device: str) -> int:
    if device == "cuda":
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        step()
        return torch.cuda.max_memory_allocated() - before
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as seen:
        step()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "trace.json"
        seen.export_chrome_trace(str(path))
        events = json.loads(path.read_text())["traceEvents"]
    held = peak = 0
    for event in sorted((e for e in events if e.get("name") == "[memory]"), key=lambda e: e["ts"]):
        held += event["args"]["Bytes"]
        peak = max(peak, held)
    return int(peak)


def main() -> None:
    """Every case, as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    device = parser.parse_args().device
    lines = [json.dumps(measure(case, device)) for case in json.loads(CASES.read_text())]
    print("[\n  " + ",\n  ".join(lines) + "\n]")  # noqa: T201


if __name__ == "__main__":
    main()
