"""A detector's graph as an ONNX file: any number of pictures, of any size.

The exporter that traces is used, not the one that captures: it is ten times as fast, and every
file is compared with torch at several sizes before it is published, which is what tells a size
that was frozen into a graph.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import onnx
import torch

from pgd_core.detectors.onnx_model import CompleteDetector, DenseDetector
from pgd_core.errors import ExportFailed

OPSET = 18
_SAMPLE = (2, 3, 128, 192)  # traced with; any would do
_PICTURES = {0: "batch", 2: "height", 3: "width"}
_INPUTS = {"images": _PICTURES, "image_sizes": {0: "batch"}}  # axes that are free
_DENSE_OUTPUTS = {"boxes": {0: "batch", 1: "positions"}, "scores": {0: "batch", 1: "positions"}}
_COMPLETE_OUTPUTS = {name: {0: "batch"} for name in ("boxes", "scores", "labels", "counts")}


def write_dense(detector: DenseDetector, path: Path, metadata: Mapping[str, Any]) -> None:
    """`images` → `boxes`, `scores`, as `DenseDetector` says; ExportFailed when it has no graph."""
    _write(detector, (torch.zeros(_SAMPLE),), _DENSE_OUTPUTS, path, metadata)


def write_complete(detector: CompleteDetector, path: Path, metadata: Mapping[str, Any]) -> None:
    """`images`, `image_sizes` → `boxes`, `scores`, `labels`, `counts`, as `CompleteDetector`
    says; ExportFailed when it has no graph."""
    sizes = torch.tensor([_SAMPLE[2:]] * _SAMPLE[0])
    _write(detector, (torch.zeros(_SAMPLE), sizes), _COMPLETE_OUTPUTS, path, metadata)


def _write(
    module: torch.nn.Module,
    sample: tuple[torch.Tensor, ...],
    outputs: dict[str, dict[int, str]],
    path: Path,
    metadata: Mapping[str, Any],
) -> None:
    inputs = dict(list(_INPUTS.items())[: len(sample)])
    try:
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")  # of tracing: what it freezes shows in the comparison
            torch.onnx.export(
                module,
                sample,
                path,
                dynamo=False,
                opset_version=OPSET,
                input_names=list(inputs),
                output_names=list(outputs),
                dynamic_axes={**inputs, **outputs},
            )
    except (RuntimeError, TypeError, ValueError, NotImplementedError) as error:
        cause = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ExportFailed(f"this detector cannot be written as ONNX: {cause}") from error
    model = onnx.load(path)
    onnx.helper.set_model_props(model, {key: json.dumps(value) for key, value in metadata.items()})
    onnx.checker.check_model(model)
    onnx.save(model, path)
