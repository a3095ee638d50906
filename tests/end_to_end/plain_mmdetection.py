"""A checkpoint as people have them: MMDetection's own config, run by its own loop.

`python -m tests.end_to_end.plain_mmdetection DATA FOLDER`: FOLDER/epoch_1.pth. Of this project only
the operators are used, which MMDetection misses where none are compiled.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from pgd_core.detectors import operators

operators.install()

import mmdet  # noqa: E402
import torch  # noqa: E402
from mmdet.utils import register_all_modules  # noqa: E402
from mmengine.config import Config  # noqa: E402
from mmengine.runner import Runner  # noqa: E402

SIZE = 64


def train(data: Path, folder: Path) -> None:
    """One epoch of a small GFL."""
    register_all_modules()
    torch.manual_seed(0)
    configs = Path(mmdet.__file__).parent / ".mim" / "configs"
    config = Config.fromfile(configs / "gfl" / "gfl_r50_fpn_1x_coco.py")
    classes = [
        each["name"] for each in json.loads((data / "train.json").read_bytes())["categories"]
    ]
    config.merge_from_dict(_smaller(len(classes)))
    dataset = config.train_dataloader.dataset
    dataset.update(data_root=str(data), ann_file="train.json", metainfo={"classes": tuple(classes)})
    dataset.data_prefix = {"img": "train/"}
    next(step for step in dataset.pipeline if step.type == "Resize").scale = (SIZE, SIZE)
    for part in ("val", "test"):
        for name in (f"{part}_dataloader", f"{part}_evaluator", f"{part}_cfg"):
            config[name] = None
    config.work_dir = str(folder)
    Runner.from_cfg(config).train()


def _smaller(classes: int) -> dict[str, Any]:
    """What makes the config train in seconds, and what every user changes: the classes."""
    return {
        "model.backbone.depth": 18,
        "model.backbone.init_cfg": None,
        "model.backbone.frozen_stages": -1,
        "model.neck.in_channels": [64, 128, 256, 512],
        "model.neck.out_channels": 64,
        "model.bbox_head.in_channels": 64,
        "model.bbox_head.feat_channels": 64,
        "model.bbox_head.stacked_convs": 2,
        "model.bbox_head.num_classes": classes,
        "train_dataloader.batch_size": 4,
        "train_dataloader.num_workers": 0,
        "train_dataloader.persistent_workers": False,
        "train_cfg.max_epochs": 1,
        "train_cfg.val_interval": 100,
    }


if __name__ == "__main__":
    train(Path(sys.argv[1]), Path(sys.argv[2]))
