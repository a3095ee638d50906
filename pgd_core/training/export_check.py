"""Whether an exported detector finds what it finds in torch, on real pictures.

Every picture goes through both in batches of one, two and three, at three sizes. A score may differ
by TOLERANCE, and a box by TOLERANCE of its longer side (of a pixel at least): what is computed in
another order differs in the last digits, which a head multiplies by strides and anchors.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import torch
from onnxruntime import InferenceSession
from scipy.optimize import linear_sum_assignment
from torch import nn

from pgd_core.detectors.predictions import flattened, head_predictions
from pgd_core.errors import ExportFailed
from pgd_core.jobs.run import DatasetFiles
from pgd_core.jobs.spec import InputSpec
from pgd_core.training.data import val_loader

TOLERANCE = 1e-3
UNMATCHED_SHARE = 0.01  # of the detections: where a threshold hangs on the last digits
PASSES = ((1, 1.0), (2, 0.75), (3, 0.5))  # pictures in a batch, size

Array = npt.NDArray[np.float32]
Boxes = tuple[Array, Array, npt.NDArray[np.int64]]  # (D, 4) XYXY, scores (D,), labels (D,)


@dataclass
class Agreement:
    """How far the two are apart, over all pictures, batches and sizes."""

    pictures: int = 0  # counted in each pass
    max_score_difference: float = 0.0
    max_box_difference: float = 0.0  # as a share of the box's longer side
    max_box_difference_px: float = 0.0
    detections: int = 0  # by torch, after NMS
    unmatched: int = 0  # without a counterpart within the tolerance

    def check(self) -> None:
        """Raise ExportFailed unless they agree."""
        differences = (self.max_score_difference, self.max_box_difference)
        if not all(each <= TOLERANCE for each in differences):  # NaN agrees with nothing
            raise ExportFailed(
                f"the ONNX file differs from torch: by {self.max_score_difference:.2g} in a score "
                f"and {self.max_box_difference:.2g} of a box's side; {TOLERANCE:g} is allowed"
            )
        if self.unmatched > UNMATCHED_SHARE * self.detections:
            raise ExportFailed(
                f"of {self.detections} boxes that torch finds after NMS, {self.unmatched} are not "
                f"what the ONNX file finds; {UNMATCHED_SHARE:.0%} is allowed"
            )


def compare(
    detector: nn.Module,  # MMDetection's own, in evaluation mode, on the CPU
    dense: InferenceSession,
    complete: InferenceSession,
    files: DatasetFiles,
    spec: InputSpec,
) -> Agreement:
    """Look at every validation picture of `files` in each pass."""
    found = Agreement()
    for batch_size, scale in PASSES:
        sides = {name: getattr(spec, name) for name in ("long_side", "short_side")}
        smaller = {name: max(32, round(side * scale)) for name, side in sides.items()}
        loader = val_loader(
            files, spec.model_copy(update=smaller), batch_size=batch_size, workers=0
        )
        for batch in loader:
            data = cast(Any, detector).data_preprocessor(batch, False)
            _compare_batch(found, detector, dense, complete, data)
    return found


@torch.no_grad()
def _compare_batch(
    found: Agreement,
    detector: nn.Module,
    dense: InferenceSession,
    complete: InferenceSession,
    data: dict[str, Any],  # inputs (N, 3, H, W) and their samples
) -> None:
    model, images = cast(Any, detector), data["inputs"]
    metas = [sample.metainfo for sample in data["data_samples"]]
    outputs = model.bbox_head(model.extract_feat(images))
    found.pictures += len(images)
    boxes, scores = _answers(dense, images=images.numpy())
    _compare_dense(found, model.bbox_head, outputs, boxes, scores)
    sizes = np.array([meta["img_shape"][:2] for meta in metas])
    told = _answers(complete, images=images.numpy(), image_sizes=sizes)
    wanted = model.bbox_head.predict_by_feat(*outputs, batch_img_metas=metas, rescale=False)
    for index, instances in enumerate(wanted):
        values = instances.numpy()
        count = int(told[3][index])
        mine = (values.bboxes, values.scores, values.labels)
        theirs = cast(Boxes, tuple(each[index][:count] for each in told[:3]))
        found.detections += len(values)
        found.unmatched += _unmatched(mine, theirs)


def _answers(session: InferenceSession, **inputs: npt.NDArray[Any]) -> list[Array]:
    """A file's outputs, each for as many pictures as it was given."""
    count, _, height, width = inputs["images"].shape
    asked = f"for {count} pictures of {height} x {width}"
    try:
        answers: list[Array] = session.run(None, inputs)
    except Exception as error:  # onnxruntime's own have no common class
        raise ExportFailed(f"the ONNX file does not work {asked}: {error}") from error
    if any(len(answer) != count for answer in answers):
        raise ExportFailed(f"{asked} the ONNX file gives {[each.shape for each in answers]}")
    return answers


def _compare_dense(
    found: Agreement, head: nn.Module, outputs: Any, boxes: Array, scores: Array
) -> None:
    predictions = head_predictions(head, outputs)
    wanted = predictions.class_logits.sigmoid()
    if len(outputs) > 2:
        wanted = wanted * torch.cat([flattened(level) for level in outputs[2]], dim=1).sigmoid()
    apart_px = np.abs(predictions.boxes.numpy() - boxes)
    share = apart_px.max(-1) / _longer_sides(predictions.boxes.numpy())
    found.max_score_difference = _most(found.max_score_difference, np.abs(wanted.numpy() - scores))
    found.max_box_difference_px = _most(found.max_box_difference_px, apart_px)
    found.max_box_difference = _most(found.max_box_difference, share)


def _most(before: float, values: Array) -> float:
    return float(np.maximum(before, values.max()))  # NaN stays


def _longer_sides(boxes: Array) -> Array:  # (..., 4) → (...)
    sides: Array = (boxes[..., 2:] - boxes[..., :2]).max(-1)
    return np.maximum(sides, 1)


def _unmatched(mine: Boxes, theirs: Boxes) -> int:
    """Detections of either without one of the other's that is the same, each used once."""
    (boxes, scores, labels), (other_boxes, other_scores, other_labels) = mine, theirs
    apart = np.abs(boxes[:, None] - other_boxes).max(-1) / _longer_sides(boxes)[:, None]
    same = (
        (apart <= TOLERANCE)
        & (np.abs(scores[:, None] - other_scores) <= TOLERANCE)
        & (labels[:, None] == other_labels)
    )
    pairs = linear_sum_assignment(~same)
    return max(len(boxes), len(other_boxes)) - int(same[pairs].sum())


def few_pictures(files: DatasetFiles, count: int, annotations: Path) -> DatasetFiles:
    """The data set with `count` validation pictures at most, evenly through the file."""
    content = json.loads(files.val_annotations.read_bytes())
    images = content["images"]
    count = min(count, len(images))
    chosen = [images[index * len(images) // count] for index in range(count)]
    annotations.write_text(json.dumps({**content, "images": chosen, "annotations": []}))
    return files.model_copy(update={"val_annotations": annotations})
