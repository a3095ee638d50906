"""What every method on the neck keeps to: who gets gradients, and what hostile batches do."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import TypeVar

import pytest
import torch
from torch import Tensor, nn

from pgd_core.distill import DetectorView, GroundTruth, Scene, TeacherPredictions
from pgd_core.distill.methods import build_method
from pgd_core.errors import InvalidSpec
from tests.pgd_core.distill.views import setting, view_of_neck, with_anchors

METHODS = ("fgd", "defeat", "frs", "fkd", "fgfi", "ld")
NEED_OBJECTS = ("fgfi", "ld")
MakePredictions = Callable[..., TeacherPredictions]
Sizes = tuple[tuple[int, int], ...]
Part = TypeVar("Part", TeacherPredictions, GroundTruth)

pytestmark = pytest.mark.parametrize("name", METHODS)


@dataclass(frozen=True)
class Batch:
    """A method between a teacher and a student that are unlike."""

    method: nn.Module
    teacher: DetectorView
    student: DetectorView
    scene: Scene

    def losses(self) -> dict[str, Tensor]:
        losses: dict[str, Tensor] = self.method(self.teacher, self.student, self.scene)
        return losses


@pytest.fixture
def truth(truth: GroundTruth) -> GroundTruth:
    """Objects small enough to leave a background."""
    boxes = torch.tensor([[[2.0, 2, 6, 6], [10, 6, 20, 12]], [[0, 0, 14, 10], [0] * 4]])
    return replace(truth, boxes=boxes)


def maps(
    sizes: Sizes, channels: int, seed: int, dtype: torch.dtype, requires_grad: bool = True
) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [
        torch.randn(2, channels, *size, generator=generator).to(dtype).requires_grad_(requires_grad)
        for size in sizes
    ]


def make_batch(
    name: str,
    predictions: TeacherPredictions,
    truth: GroundTruth,
    strides: tuple[int, ...] = (8, 16),
    dtype: torch.dtype = torch.float32,
) -> Batch:
    torch.manual_seed(0)
    detector = "gfl" if name in NEED_OBJECTS else "fcos"
    method = build_method(name, setting(detector, channels=4, strides=strides), {})
    sizes = predictions.level_sizes
    teacher, student = (
        view_of_neck(
            maps(sizes, 4, seed, dtype),
            maps(sizes, 3, seed + 1, dtype),
            maps(sizes, 4 * 5, seed + 4, dtype),
        )
        for seed in (0, 2)
    )
    predictions = with_anchors(predictions, strides)
    return Batch(method, teacher, student, Scene(predictions, truth, iteration=500))


def moved(view: DetectorView, move: Callable[[Tensor], Tensor]) -> DetectorView:
    """The view with every map moved to another type or device."""
    parts = (view.neck, view.class_logits, view.box_outputs)
    return view_of_neck(*([move(level) for level in levels] for levels in parts))


def no_objects() -> GroundTruth:
    none = [torch.zeros(0, 4)] * 2
    return GroundTruth.from_lists(none, [torch.zeros(0)] * 2, none, [(32, 48)] * 2, "cpu")


def gradients(batch: Batch, losses: dict[str, Tensor]) -> list[Tensor]:
    torch.stack(list(losses.values())).sum().backward()
    found = [level.grad for level in batch.student.neck]
    assert all(gradient is not None for gradient in found)
    return [gradient for gradient in found if gradient is not None]


def test_gradients_reach_the_student_and_the_adapters_and_never_the_teacher(
    name: str, make_predictions: MakePredictions, truth: GroundTruth
) -> None:
    batch = make_batch(name, make_predictions(), truth)
    losses = batch.losses()
    assert all(key.startswith(f"loss_{name}_") for key in losses)
    assert all(value.shape == () and value > 0 for value in losses.values())
    assert all(gradient.any() for gradient in gradients(batch, losses))
    seen = batch.teacher.neck + batch.teacher.class_logits + batch.teacher.box_outputs
    assert all(level.grad is None for level in seen)
    assert all(parameter.grad is not None for parameter in batch.method.parameters())


def test_a_batch_without_objects_is_all_background(
    name: str, make_predictions: MakePredictions
) -> None:
    batch = make_batch(name, make_predictions(), no_objects())
    losses = batch.losses()
    assert losses.pop(f"loss_{name}_foreground", torch.tensor(0)) == 0
    counts = name not in NEED_OBJECTS
    assert all(value.isfinite() and (value > 0) == counts for value in losses.values())
    assert all(
        gradient.isfinite().all() and gradient.any() == counts
        for gradient in gradients(batch, losses)
    )


def test_objects_far_off_the_image_and_without_area_stay_finite(
    name: str, make_predictions: MakePredictions, truth: GroundTruth
) -> None:
    for box in (
        [900.0, 900, 990, 990],
        [16.0, 16, 16, 16],
        [30.0, 30, 2, 2],
        [-1e6, -1e6, 1e6, 1e6],
    ):
        strange = replace(truth, boxes=torch.tensor(box).expand(2, 2, 4))
        batch = make_batch(name, make_predictions(), strange)
        losses = batch.losses()
        assert all(value.isfinite() for value in losses.values())
        assert all(gradient.isfinite().all() for gradient in gradients(batch, losses))


@pytest.mark.parametrize(
    ("sizes", "strides"), [(((4, 6),), (8,)), (((4, 6), (4, 6)), (8, 8)), (((1, 1),), (32,))]
)
def test_one_level_levels_of_one_size_and_a_single_cell_are_served(
    name: str,
    make_predictions: MakePredictions,
    truth: GroundTruth,
    sizes: Sizes,
    strides: tuple[int, ...],
) -> None:
    batch = make_batch(name, make_predictions(sizes, strides), truth, strides)
    losses = batch.losses()
    assert all(value.isfinite() for value in losses.values())
    assert all(gradient.isfinite().all() for gradient in gradients(batch, losses))


def test_images_that_are_all_padding_have_finite_losses(
    name: str, make_predictions: MakePredictions, truth: GroundTruth
) -> None:
    batch = make_batch(name, make_predictions(), replace(truth, image_sizes=torch.zeros(2, 2)))
    losses = batch.losses()
    assert all(value.isfinite() for value in losses.values())
    counts = () if name == "fkd" else ("ground", "_class", "_main", "_valuable")
    assert all(value == 0 for key, value in losses.items() if key.endswith(counts))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_compared_in_float32_under_autocast(
    name: str, make_predictions: MakePredictions, truth: GroundTruth, dtype: torch.dtype
) -> None:
    batch = make_batch(name, make_predictions(), truth, dtype=dtype)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        losses = batch.losses()
        found = gradients(batch, losses)
    in_double = make_batch(name, make_predictions(), truth, dtype=dtype)
    exact = in_double.method.double()(
        *(moved(view, Tensor.double) for view in (in_double.teacher, in_double.student)),
        in_double.scene,
    )
    for key, value in losses.items():
        assert value.dtype == torch.float32
        torch.testing.assert_close(value.double(), exact[key], rtol=1e-5, atol=0)
    assert all(gradient.dtype == dtype and gradient.isfinite().all() for gradient in found)


def test_a_step_stays_on_its_device_and_waits_for_no_value(
    name: str,
    make_predictions: MakePredictions,
    truth: GroundTruth,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Tensors on the meta device have no values, and none on another device may join them."""
    monkeypatch.setattr(torch, "autocast", lambda *_args, **_more: nullcontext())  # knows no meta
    batch = make_batch(name, make_predictions(), truth)
    teacher, student = (
        moved(view, lambda level: level.detach().to("meta").requires_grad_())
        for view in (batch.teacher, batch.student)
    )
    scene = Scene(on_meta(batch.scene.predictions), on_meta(truth), batch.scene.iteration)
    losses = batch.method.to("meta")(teacher, student, scene)
    torch.stack(list(losses.values())).sum().backward()
    assert all(value.device.type == "meta" for value in losses.values())


def on_meta(parts: Part) -> Part:
    tensors = {key: v.to("meta") for key, v in vars(parts).items() if isinstance(v, Tensor)}
    return replace(parts, **tensors)


def test_two_runs_give_the_same_bits(
    name: str, make_predictions: MakePredictions, truth: GroundTruth
) -> None:
    first, second = (make_batch(name, make_predictions(), truth) for _ in range(2))
    of_first, of_second = first.losses(), second.losses()
    assert of_first == of_second
    pairs = zip(gradients(first, of_first), gradients(second, of_second), strict=True)
    assert all(a.equal(b) for a, b in pairs)


def test_necks_of_different_width_are_refused(
    name: str, make_predictions: MakePredictions, truth: GroundTruth
) -> None:
    batch = make_batch(name, make_predictions(), truth)
    wide = replace(batch.teacher, neck=maps(((4, 6), (2, 3)), 5, 0, torch.float32))
    with pytest.raises(InvalidSpec, match="same width"):
        batch.method(wide, batch.student, batch.scene)


def test_an_unknown_detector_is_refused(name: str) -> None:
    with pytest.raises(InvalidSpec, match="'yolo' has no preset"):
        build_method(name, setting("yolo"), {})
