"""timm imports with and without torchvision, and its networks behave as backbones."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from pgd_core.detectors.timm_backbone import TimmBackbone

ROOT = Path(__file__).parents[3]
IMPORT_AND_REPORT = """
import sys
from pgd_core.detectors.timm_backbone import feature_net
feature_net("test_resnet")
from timm.layers.norm_act import FrozenBatchNorm2d
print([m for m in sys.modules if m.startswith("torchvision")])
try:
    import torchvision
except Exception as error:
    print(error)
try:
    FrozenBatchNorm2d(4)
except ImportError as error:
    print(error)
"""
BROKEN = 'raise RuntimeError("operator torchvision::nms does not exist")'


def test_beside_a_torchvision_that_fails_timm_imports_and_who_asks_hears_the_truth(
    tmp_path: Path,
) -> None:
    (tmp_path / "torchvision").mkdir()
    (tmp_path / "torchvision" / "__init__.py").write_text(BROKEN)
    path = os.pathsep.join([str(tmp_path), str(ROOT)])
    done = subprocess.run(
        [sys.executable, "-c", IMPORT_AND_REPORT],
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": path},
        check=True,
        capture_output=True,
        text=True,
    )
    left, heard, refused = done.stdout.splitlines()
    assert left == "[]"
    assert heard == "operator torchvision::nms does not exist"
    assert "FrozenBatchNorm2d needs torchvision" in refused


@pytest.mark.parametrize("name", ["test_resnet", "test_mambaout", "test_efficientnet"])
def test_maps_have_channels_first_whatever_the_network_works_with(name: str) -> None:
    backbone = TimmBackbone(name, (1, 2, 3))
    channels = [backbone.net.feature_info.info[index]["num_chs"] for index in (1, 2, 3)]
    with torch.no_grad():
        maps = backbone.eval()(torch.zeros(1, 3, 64, 96))
    assert [map_.shape[1] for map_ in maps] == channels


def test_frozen_batch_norm_has_no_gradient_and_keeps_its_statistics() -> None:
    backbone = TimmBackbone("test_resnet", (2, 3, 4), freeze_batch_norm=True).train()
    norms = [module for module in backbone.modules() if isinstance(module, nn.BatchNorm2d)]
    assert norms
    assert not any(norm.training or norm.weight.requires_grad for norm in norms)
    convs = [module for module in backbone.modules() if isinstance(module, nn.Conv2d)]
    assert all(conv.training and conv.weight.requires_grad for conv in convs)
