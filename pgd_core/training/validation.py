"""A detector's boxes on the validation pictures, and their COCO metrics."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any, cast

import torch
from mmengine import dist
from torch import nn
from torch.utils.data import DataLoader

from pgd_core.evaluation.coco import coco_metrics
from pgd_core.evaluation.detections import Detections
from pgd_core.training.data import category_ids

NAMES = {  # COCO's own
    "ap": "AP",
    "ap50": "AP50",
    "ap75": "AP75",
    "ap_small": "AP_S",
    "ap_medium": "AP_M",
    "ap_large": "AP_L",
    "ar1": "AR_1",
    "ar10": "AR_10",
    "ar100": "AR_100",
    "ar_small": "AR_S",
    "ar_medium": "AR_M",
    "ar_large": "AR_L",
    "ap_per_class": "AP_per_class",
}


def validate(
    model: nn.Module,
    loader: DataLoader[Any],
    annotations: Path,
    after_batch: Callable[[], None] = lambda: None,
    on_found: Callable[[list[Detections]], None] = lambda _: None,
) -> dict[str, Any]:
    """COCO metrics in percent, the same on every process; the model's mode is left as it was.

    `on_found` is given what was found in all the pictures.
    """
    _share_buffers(model)
    shares = dist.all_gather_object(predict(model, loader, category_ids(annotations), after_batch))
    found = [detections for share in shares for detections in share]
    metrics = coco_metrics(annotations, found)
    on_found(found)
    return {NAMES.get(name, name): value for name, value in asdict(metrics).items()}


@torch.no_grad()
def predict(
    model: nn.Module,
    loader: DataLoader[Any],
    category_ids: list[int],
    after_batch: Callable[[], None],
) -> list[Detections]:
    """Boxes of every picture of the loader, in pixels of the original pictures."""
    was_training = model.training
    model.eval()
    found: list[Detections] = []
    try:
        for batch in loader:
            for sample in cast(Any, model).val_step(batch):
                found.append(_detections(sample, category_ids))
            after_batch()
    finally:
        model.train(was_training)
    return found


def _share_buffers(model: nn.Module) -> None:
    """BatchNorm's statistics of the first process, whose weights are the ones that are kept."""
    if dist.get_world_size() > 1:
        for buffer in model.buffers():
            dist.broadcast(buffer)


def _detections(sample: Any, category_ids: list[int]) -> Detections:
    instances = sample.pred_instances.cpu().numpy()
    return Detections(
        image_id=int(sample.img_id),
        boxes=instances.bboxes.astype("float64"),
        scores=instances.scores.astype("float64"),
        category_ids=torch.tensor(category_ids).numpy()[instances.labels],
    )
