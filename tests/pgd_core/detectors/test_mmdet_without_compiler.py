"""The five detectors of MMDetection train and predict on mmcv-lite with our operators."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from pgd_core.detectors.operators import install

install()  # before mmdet
import mmdet  # noqa: E402
from mmdet.registry import MODELS  # noqa: E402
from mmdet.structures import DetDataSample  # noqa: E402
from mmdet.utils import register_all_modules  # noqa: E402
from mmengine.config import Config  # noqa: E402
from mmengine.structures import InstanceData  # noqa: E402

CONFIGS = {
    "FCOS": "fcos/fcos_r50-caffe_fpn_gn-head_1x_coco.py",
    "AutoAssign": "autoassign/autoassign_r50-caffe_fpn_1x_coco.py",
    "ATSS": "atss/atss_r50_fpn_1x_coco.py",
    "GFL": "gfl/gfl_r50_fpn_1x_coco.py",
    "DDOD": "ddod/ddod_r50_fpn_1x_coco.py",
}
CLASSES = 3


def small_detector(name: str) -> torch.nn.Module:
    """mmdet's own detector with a ResNet-18 and 32 channels."""
    register_all_modules()
    torch.manual_seed(0)
    folder = Path(mmdet.__file__).parent / ".mim" / "configs"
    model = Config.fromfile(folder / CONFIGS[name]).model
    model.backbone.update(depth=18, init_cfg=None)
    model.neck.update(in_channels=[64, 128, 256, 512], out_channels=32)
    gn = {"type": "GN", "num_groups": 8, "requires_grad": True}
    model.bbox_head.update(in_channels=32, feat_channels=32, num_classes=CLASSES, norm_cfg=gn)
    detector = MODELS.build(model)
    detector.init_weights()
    return detector


def pictures() -> dict[str, list[object]]:
    """Two random pictures, one of them without objects, as the data loader gives them."""
    random = torch.Generator().manual_seed(0)
    inputs = [torch.randint(0, 256, (3, 96, 128), generator=random).byte() for _ in range(2)]
    boxes = torch.tensor([[10.0, 8, 70, 80], [40, 30, 120, 90], [5, 60, 25, 90]])
    samples = []
    for count in (3, 0):
        objects = InstanceData(bboxes=boxes[:count], labels=torch.tensor([0, 1, 2])[:count])
        sample = DetDataSample(gt_instances=objects)
        size = {"img_shape": (96, 128), "ori_shape": (96, 128), "scale_factor": (1.0, 1.0)}
        sample.set_metainfo(size | {"pad_shape": (96, 128), "batch_input_shape": (96, 128)})
        samples.append(sample)
    return {"inputs": inputs, "data_samples": samples}


@pytest.mark.parametrize("name", CONFIGS)
def test_a_detector_trains_a_step_and_predicts(name: str) -> None:
    detector = small_detector(name).train()
    optimizer = torch.optim.SGD(detector.parameters(), lr=1e-3)
    losses = detector(**detector.data_preprocessor(pictures(), True), mode="loss")
    loss, _ = detector.parse_losses(losses)
    assert loss.isfinite()
    loss.backward()
    without_gradient = [
        parameter_name
        for parameter_name, parameter in detector.named_parameters()
        if parameter.requires_grad
        and (parameter.grad is None or not parameter.grad.isfinite().all())
    ]
    assert without_gradient == []
    optimizer.step()

    detector.eval()
    detector.test_cfg.score_thr = 0.0
    with torch.no_grad():
        found = detector(**detector.data_preprocessor(pictures(), False), mode="predict")
    for sample in found:
        predicted = sample.pred_instances
        assert 0 < len(predicted.bboxes) <= 100
        assert predicted.bboxes.isfinite().all()
        assert predicted.labels.max() < CLASSES
        assert predicted.scores.tolist() == sorted(predicted.scores.tolist(), reverse=True)


def test_the_first_tower_convolutions_of_ddod_are_deformable_and_learn_their_offsets() -> None:
    detector = small_detector("DDOD").train()
    losses = detector(**detector.data_preprocessor(pictures(), True), mode="loss")
    detector.parse_losses(losses)[0].backward()
    for tower in (detector.bbox_head.cls_convs, detector.bbox_head.reg_convs):
        first = tower[0].conv
        assert type(first).__name__.endswith("DeformConv2dPack")
        assert first.conv_offset.weight.grad.abs().sum() > 0
