"""A detector as tensors in and tensors out, to be written as a graph.

Pictures come resized, normalised and padded: (N, 3, H, W), RGB. Boxes are XYXY in their pixels.
Letters: N pictures, A positions over all levels, C classes, K candidates, D boxes at most.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn

from pgd_core.detectors.onnx_operators import NO_SCORE, NonMaxSuppression, with_basic_convolutions
from pgd_core.detectors.predictions import decoded_boxes, flattened


@dataclass(frozen=True)
class Selection:
    """Which of the dense predictions are told; MMDetection's rules, as `test_cfg` has them."""

    score_threshold: float  # of the class probability alone; what is told scores less
    iou_threshold: float  # of two boxes of a class, above which the lower-scored one falls
    max_detections: int  # of a picture
    candidates: int = 1000  # of a level, those of highest class probability


class DenseDetector(nn.Module):
    """The prediction at every position, without threshold or suppression."""

    def __init__(self, detector: nn.Module) -> None:
        super().__init__()
        self.detector = with_basic_convolutions(_plain_copy(detector))
        self.eval()  # the exporter takes the whole for in training otherwise

    def forward(
        self,
        images: Tensor,  # (N, 3, H, W)
    ) -> tuple[Tensor, Tensor]:  # boxes (N, A, 4), scores (N, A, C)
        """Boxes, which may reach over the picture, and scores: class probability times the head's
        centerness, objectness or predicted IoU, where it has one."""
        boxes, probs, factors = self.look(images)
        scores = torch.cat(probs, dim=1)
        return boxes, scores if factors is None else scores * factors

    def look(self, images: Tensor) -> tuple[Tensor, list[Tensor], Tensor | None]:
        """Boxes (N, A, 4), by level class probabilities (N, A_l, C), and factors (N, A, 1)."""
        detector = cast(Any, self.detector)
        outputs = detector.bbox_head(detector.extract_feat(images))
        boxes = decoded_boxes(detector.bbox_head, outputs)
        probs = [flattened(level).sigmoid() for level in outputs[0]]
        if len(outputs) < 3:
            return boxes, probs, None
        return boxes, probs, torch.cat([flattened(level) for level in outputs[2]], dim=1).sigmoid()


def _plain_copy(detector: nn.Module) -> nn.Module:
    """On the CPU, in its usual memory layout and in evaluation mode."""
    plain: Any = copy.deepcopy(detector).cpu()
    plain.to(memory_format=torch.contiguous_format)
    return cast(nn.Module, plain.eval().requires_grad_(False))


class CompleteDetector(nn.Module):
    """The boxes that MMDetection's own prediction gives: threshold, top-k and class-wise NMS."""

    def __init__(self, dense: DenseDetector, selection: Selection) -> None:
        super().__init__()
        self.dense, self.selection = dense, selection
        self.eval()

    def forward(
        self,
        images: Tensor,  # (N, 3, H, W)
        image_sizes: Tensor,  # (N, 2)  int64 (height, width) of each picture without its padding
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Boxes (N, D, 4), scores (N, D), labels (N, D) int64 and counts (N,) int64.

        Of each picture the first `counts` rows are boxes, best first; the rest is 0, label -1.
        """
        boxes, probs, factors = self.dense.look(images)
        probability, position, label = self._candidates(probs)
        boxes = _clipped(_rows(boxes, position), image_sizes)
        is_box = (probability > 0) & ((boxes[..., 2:] - boxes[..., :2]).amin(-1) > 0)
        scores = probability if factors is None else probability * _rows(factors, position)[..., 0]
        scores = torch.where(is_box, scores, NO_SCORE)
        scores = torch.where(self._stays(boxes, scores, label), scores, NO_SCORE)
        scores, index = scores.topk(self.selection.max_detections)
        found = scores > NO_SCORE / 2
        return (
            _rows(boxes, index) * found[..., None],
            scores * found,
            torch.where(found, label.gather(1, index), -1),
            found.sum(1),
        )

    def _candidates(self, probs: list[Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        """Class probability (0 where there is none), position and label, (N, K) each."""
        count, classes = self.selection.candidates, probs[0].shape[2]
        found, start = [], 0
        for level in probs:
            flat = level.flatten(1)  # (N, A_l · C)
            flat = flat * (flat > self.selection.score_threshold)
            flat = nn.functional.pad(flat, (0, count))  # so that there are as many
            probability, index = flat.topk(count)
            position = torch.div(index, classes, rounding_mode="floor")
            label = index - position * classes
            found.append((probability, (position + start) * (probability > 0), label))
            start = start + level.shape[1]
        probability, position, label = (torch.cat(each, dim=1) for each in zip(*found, strict=True))
        return probability, position, label

    def _stays(self, boxes: Tensor, scores: Tensor, label: Tensor) -> Tensor:  # (N, K) bool
        """NMS of each class: its boxes are moved to a place of their own, as MMCV does."""
        far = (boxes.amax(-1) * (scores > NO_SCORE / 2)).amax(1, keepdim=True) + 1
        apart = boxes + (label * far)[..., None]
        most, iou_threshold = self.selection.max_detections, self.selection.iou_threshold
        kept: Tensor = cast(Any, NonMaxSuppression).apply(
            apart, scores[:, None], most, iou_threshold
        )
        marks = torch.zeros_like(scores)
        image, candidate = kept[:, 0], kept[:, 2]
        return marks.index_put((image, candidate), torch.ones_like(image, dtype=marks.dtype)) > 0


def _rows(
    values: Tensor,  # (N, A, V)
    index: Tensor,  # (N, K)
) -> Tensor:  # (N, K, V)
    return values.gather(1, index[..., None].expand(-1, -1, values.shape[2]))


def _clipped(
    boxes: Tensor,  # (N, K, 4)
    image_sizes: Tensor,  # (N, 2)  (height, width)
) -> Tensor:
    limits = image_sizes.to(boxes).flip(1).repeat(1, 2)  # width, height, width, height
    return boxes.clamp(min=0).minimum(limits[:, None])
