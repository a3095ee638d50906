"""What a distillation method is given: the teacher's predictions, the ground truth, the features.

Letters: N images, A positions over all FPN levels, G objects of the fullest image, I ignore
regions, C channels or classes, H_l x W_l the size of level l.
Points are (x, y), boxes XYXY, both in pixels of the padded input image.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from pgd_core.errors import InvalidSpec


@dataclass(frozen=True)
class TeacherPredictions:
    """The teacher's dense predictions, one for each position.

    Eq. 1 allows several predictions at a position (the set J_i, of which the best counts). The
    five detectors served here make exactly one, so that no axis is spent on it.
    """

    points: Tensor  # (A, 2)  (x, y), pixels, levels concatenated from fine to coarse
    boxes: Tensor  # (N, A, 4)  XYXY, pixels
    class_logits: Tensor  # (N, A, C)  before the sigmoid
    level_sizes: tuple[tuple[int, int], ...]  # (H_l, W_l) of each level; sum of H_l * W_l = A
    anchors: Tensor | None = None  # (A, 4)  XYXY, pixels; None for a detector without anchors

    def __post_init__(self) -> None:
        positions = sum(height * width for height, width in self.level_sizes)
        found = (self.points.shape[0], self.boxes.shape[1], self.class_logits.shape[1])
        if found != (positions,) * 3:
            raise InvalidSpec(
                f"levels {self.level_sizes} hold {positions} positions, but there are {found[0]} "
                f"points, {found[1]} boxes and {found[2]} class logits; pass one of each a position"
            )


@dataclass(frozen=True)
class GroundTruth:
    """The objects of a batch, padded with zeros to the fullest image."""

    boxes: Tensor  # (N, G, 4)  XYXY, pixels
    labels: Tensor  # (N, G)  int64, 0 where padded
    valid: Tensor  # (N, G)  bool, False where padded
    ignored_boxes: Tensor  # (N, I, 4)  XYXY; crowd and ignore regions; a zero box covers nothing
    image_sizes: Tensor  # (N, 2)  (height, width) of each image without padding, pixels

    @classmethod
    def from_lists(
        cls,
        boxes: list[Tensor],  # N times (G_n, 4)  XYXY, pixels
        labels: list[Tensor],  # N times (G_n,)
        ignored: list[Tensor],  # N times (I_n, 4)  XYXY, pixels
        image_sizes: list[tuple[int, int]],  # N times (height, width), pixels
        device: torch.device | str,
    ) -> GroundTruth:
        """The batch as tensors on `device`, from one entry an image; entries may be empty."""
        if not len(boxes) == len(labels) == len(ignored) == len(image_sizes):
            raise InvalidSpec(
                f"a batch has one entry an image in each list, not {len(boxes)} boxes, "
                f"{len(labels)} labels, {len(ignored)} ignored and {len(image_sizes)} image sizes"
            )
        counts = torch.tensor([len(of_image) for of_image in boxes])
        valid = torch.arange(int(counts.max()) if len(boxes) else 0) < counts[:, None]
        return cls(
            boxes=_padded(boxes, 4).to(device),
            labels=pad_sequence([of.long() for of in labels], batch_first=True).to(device),
            valid=valid.to(device),
            ignored_boxes=_padded(ignored, 4).to(device),
            image_sizes=torch.tensor(image_sizes, dtype=torch.float32).to(device),
        )


@dataclass(frozen=True)
class TowerFeatures:
    """Output of the first conv block of each tower of a head, one map a level, fine to coarse."""

    cls: list[Tensor]  # per level (N, C, H_l, W_l)  classification tower
    reg: list[Tensor]  # per level (N, C, H_l, W_l)  regression tower


@dataclass(frozen=True)
class DetectorView:
    """What one detector computes of a batch, one map a level, fine to coarse."""

    neck: list[Tensor]  # per level (N, C, H_l, W_l)  FPN output
    towers: TowerFeatures
    class_logits: list[Tensor]  # per level (N, classes, H_l, W_l)  before the sigmoid
    box_outputs: list[Tensor]  # per level (N, 4 or 4 * bins, H_l, W_l)  as the head gives them


@dataclass(frozen=True)
class Scene:
    """What a method is told of a batch beside the two detectors' views of it."""

    predictions: TeacherPredictions
    truth: GroundTruth
    iteration: int  # steps of the optimiser made before this batch


@dataclass(frozen=True)
class Setting:
    """What a method may know of the detectors before the first batch."""

    detector: str  # of teacher and student: fcos, autoassign, atss, gfl or ddod
    backbone_family: str  # of the student: resnet, mobilenet_v2 or timm
    dataset: str  # coco or crowdhuman
    channels: int  # C, of the neck and of the towers, the same in teacher and student
    strides: tuple[int, ...]  # of the levels, pixels, fine to coarse


def check_maps_fit(
    what: str,
    teacher: list[Tensor],  # per level (N, C, H_l, W_l)
    student: list[Tensor],  # per level (N, C, H_l, W_l)
    level_sizes: tuple[tuple[int, int], ...],
) -> None:
    """Refuse maps that differ in levels, channels or size; InvalidSpec names both sides."""
    teacher_shapes = [tuple(level.shape) for level in teacher]
    student_shapes = [tuple(level.shape) for level in student]
    if teacher_shapes != student_shapes:
        raise InvalidSpec(
            f"the {what} differ: teacher {teacher_shapes}, student {student_shapes}; give both "
            "detectors the same width, levels, strides and classes"
        )
    if [shape[2:] for shape in teacher_shapes] != list(level_sizes):
        raise InvalidSpec(
            f"the {what} have levels {[shape[2:] for shape in teacher_shapes]}, which are not "
            f"the levels of the teacher's predictions {list(level_sizes)}"
        )


def _padded(boxes: list[Tensor], width: int) -> Tensor:
    return pad_sequence([of_image.reshape(-1, width).float() for of_image in boxes], True)
