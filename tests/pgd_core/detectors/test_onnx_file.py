"""Detectors that have no graph are refused in words; files keep what they are told."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import onnx
import pytest
import torch

from pgd_core.detectors.build import build_detector
from pgd_core.detectors.onnx_file import OPSET, write_dense
from pgd_core.detectors.onnx_model import DenseDetector
from pgd_core.errors import ExportFailed
from tests.pgd_core.detectors.batches import CLASSES, small_spec


def _dense() -> DenseDetector:
    return DenseDetector(build_detector(small_spec("fcos", "mobilenet_v2", width=0.25), CLASSES))


def test_a_file_has_free_sizes_and_its_metadata(tmp_path: Path) -> None:
    path = tmp_path / "student.onnx"
    write_dense(_dense(), path, {"classes": ["a", "ü"], "input": {"side": 3}})

    model = onnx.load(path)
    assert model.opset_import[0].version == OPSET
    dims = [d.dim_param or d.dim_value for d in model.graph.input[0].type.tensor_type.shape.dim]
    assert dims == ["batch", 3, "height", "width"]
    assert [each.name for each in model.graph.output] == ["boxes", "scores"]
    known = {each.key: json.loads(each.value) for each in model.metadata_props}
    assert known == {"classes": ["a", "ü"], "input": {"side": 3}}


def test_a_detector_without_a_graph_is_refused_in_words(tmp_path: Path) -> None:
    class Odd(DenseDetector):
        def forward(self, images: torch.Tensor) -> Any:
            return images.new_zeros(1), torch.linalg.eig(images[0, 0, :4, :4])[0]

    odd = Odd(_dense().detector)
    with pytest.raises(ExportFailed, match=r"cannot be written as ONNX: .*linalg_eig"):
        write_dense(odd, tmp_path / "student.onnx", {})
