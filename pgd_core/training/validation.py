"""A detector's boxes on the validation pictures, and their COCO or CrowdHuman metrics."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import asdict
from typing import Any, cast

import torch
from mmengine import dist
from torch import nn

from pgd_core.evaluation.coco import CocoMetrics, coco_metrics
from pgd_core.evaluation.crowdhuman import CrowdHumanMetrics, crowdhuman_metrics
from pgd_core.evaluation.detections import Detections
from pgd_core.jobs.run import DatasetFiles
from pgd_core.training.data import category_ids

NAMES = {  # COCO's and CrowdHuman's own
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
    "mr": "MR",
    "ji": "JI",
}


def validate(
    model: nn.Module,
    batches: Iterable[Any],
    files: DatasetFiles,  # as prepared for training
    on_found: Callable[[list[Detections]], None] = lambda _: None,
) -> dict[str, Any]:
    """The data set's own metrics in percent, the same on every process.

    The model's mode is left as it was. `on_found` is given what was found in all the pictures.
    """
    _share_buffers(model)
    mine = predict(model, batches, category_ids(files.val_annotations))
    found = [detections for share in dist.all_gather_object(mine) for detections in share]
    metrics = named_metrics(files, found)
    on_found(found)
    return metrics


def named_metrics(files: DatasetFiles, found: list[Detections]) -> dict[str, Any]:
    """The data set's own metrics in percent, under the names that people know."""
    metrics = asdict(_metrics(files, found))
    return {NAMES.get(name, name): value for name, value in metrics.items()}


def _metrics(files: DatasetFiles, detections: list[Detections]) -> CocoMetrics | CrowdHumanMetrics:
    if files.crowdhuman_val:
        return crowdhuman_metrics(files.crowdhuman_val, files.val_annotations, detections)
    return coco_metrics(files.val_annotations, detections)


@torch.no_grad()
def predict(
    model: nn.Module,
    batches: Iterable[Any],
    category_ids: list[int],
) -> list[Detections]:
    """Boxes of every picture, in pixels of the original pictures."""
    was_training = model.training
    model.eval()
    found: list[Detections] = []
    try:
        for batch in batches:
            for sample in cast(Any, model).val_step(batch):
                found.append(detections(sample.img_id, sample.pred_instances, category_ids))
    finally:
        model.train(was_training)
    return found


def _share_buffers(model: nn.Module) -> None:
    """BatchNorm's statistics of the first process, whose weights are the ones that are kept."""
    if dist.get_world_size() > 1:
        for buffer in model.buffers():
            dist.broadcast(buffer)


def detections(image_id: int, found: Any, category_ids: list[int]) -> Detections:
    """MMDetection's instances of one picture, boxes in pixels of the original, as ours."""
    instances = found.cpu().numpy()
    return Detections(
        image_id=int(image_id),
        boxes=instances.bboxes.astype("float64"),
        scores=instances.scores.astype("float64"),
        category_ids=torch.tensor(category_ids).numpy()[instances.labels],
    )
