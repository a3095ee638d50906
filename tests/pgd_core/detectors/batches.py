"""Small detectors and batches for the tests of this folder."""

from __future__ import annotations

from typing import Any

import torch
from mmdet.structures import DetDataSample
from mmengine.structures import InstanceData

from pgd_core.jobs.spec import BackboneSpec, DetectorSpec

CLASSES = 3


def small_spec(detector: str = "fcos", backbone: str = "resnet18", **more: Any) -> DetectorSpec:
    """A detector of 16 channels and one conv in each tower."""
    return DetectorSpec(
        detector=detector,
        backbone=BackboneSpec(name=backbone, **more),
        head_width=16,
        head_convs=1,
        norm_groups=4,
    )


def batch() -> dict[str, list[Any]]:
    """Three pictures: with objects, with one and an ignore region, with none."""
    random = torch.Generator().manual_seed(0)
    inputs = [torch.randint(0, 256, (3, 96, 96), generator=random).byte() for _ in range(3)]
    boxes = torch.tensor([[10.0, 8, 70, 80], [40, 30, 90, 90], [5, 60, 25, 90]])
    samples = []
    for count in (3, 1, 0):
        sample = DetDataSample(
            gt_instances=InstanceData(bboxes=boxes[:count], labels=torch.tensor([0, 1, 2])[:count]),
            ignored_instances=InstanceData(
                bboxes=boxes[2:3] if count == 1 else boxes[:0], labels=torch.zeros(int(count == 1))
            ),
        )
        sample.set_metainfo(
            {
                "img_shape": (96, 96),
                "ori_shape": (96, 96),
                "pad_shape": (96, 96),
                "batch_input_shape": (96, 96),
                "scale_factor": (1.0, 1.0),
            }
        )
        samples.append(sample)
    return {"inputs": inputs, "data_samples": samples}


def make_seeing(detector: Any) -> Any:
    """The detector with last layers that find much in any picture; offsets of DDOD are not 0."""
    for name, module in detector.bbox_head.named_modules():
        if name.endswith(("cls", "reg")) and isinstance(module, torch.nn.Conv2d):
            torch.nn.init.normal_(module.weight, std=0.2)
            torch.nn.init.zeros_(module.bias)
        if name.endswith("offset"):
            torch.nn.init.normal_(module.weight, std=0.1)
    return detector.eval()
