"""FGD: boxes and attention weigh the features of the neck; a context block compares the rest."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from pgd_core.distill import GroundTruth, Scene, TeacherPredictions, TowerFeatures
from pgd_core.distill.level_masks import usable_cells
from pgd_core.distill.methods.fgd import (
    FgdParameters,
    FocalGlobalDistillation,
    GlobalContext,
    build,
    focal_losses,
    map_channel_attention,
    object_weights,
)
from tests.pgd_core.distill.views import setting, view_of_neck

KEYS = ["loss_fgd_foreground", "loss_fgd_background", "loss_fgd_attention", "loss_fgd_relation"]
DETECTORS = ("fcos", "autoassign", "atss", "gfl", "ddod")
MakePredictions = Callable[..., TeacherPredictions]
Make = Callable[..., TowerFeatures]


@pytest.fixture
def truth(truth: GroundTruth) -> GroundTruth:
    """Objects small enough to leave a background."""
    boxes = torch.tensor([[[2.0, 2, 6, 6], [10, 6, 20, 12]], [[0, 0, 14, 10], [0] * 4]])
    return replace(truth, boxes=boxes)


def randomised(method: FocalGlobalDistillation) -> FocalGlobalDistillation:
    """The method in float64, with context blocks that add something."""
    generator = torch.Generator().manual_seed(5)
    method.double()
    for parameter in method.parameters():
        nn.init.normal_(parameter, generator=generator)
    return method


def boxes_of(*boxes: list[float], size: tuple[int, int] = (32, 48)) -> GroundTruth:
    none = torch.zeros(0, 4)
    labels = torch.zeros(len(boxes))
    return GroundTruth.from_lists(
        [torch.tensor(boxes).reshape(-1, 4)], [labels], [none], [size], "cpu"
    )


def softmax(values: list[float]) -> list[float]:
    powers = [math.exp(value) for value in values]
    return [power / sum(powers) for power in powers]


def reference_weights(boxes: list[list[float]], stride: int, i: int, j: int) -> float:
    best = 0.0
    for x1, y1, x2, y2 in boxes:
        left, right = math.floor(x1 / stride), math.ceil(x2 / stride)
        top, bottom = math.floor(y1 / stride), math.ceil(y2 / stride)
        if left <= j <= right and top <= i <= bottom:
            best = max(best, 1 / ((right - left + 1) * (bottom - top + 1)))
    return best


def reference_context(block: GlobalContext, feature: Tensor) -> list[float]:  # (C, H, W) -> (C,)
    """What a context block adds to every cell of one image."""
    state = {name: value.tolist() for name, value in block.state_dict().items()}
    cells = feature.flatten(1).T.tolist()
    kernel = [row[0][0] for row in state["mask.weight"][0]]
    shares = softmax([sum(k * v for k, v in zip(kernel, cell, strict=True)) for cell in cells])
    pool = [sum(s * cell[c] for s, cell in zip(shares, cells, strict=True)) for c in range(3)]

    def linear(name: str, values: list[float]) -> list[float]:
        rows = zip(state[f"{name}.weight"], state[f"{name}.bias"], strict=True)
        return [sum(w * v for w, v in zip(row, values, strict=True)) + b for row, b in rows]

    hidden = linear("transform.0", pool)
    mean = sum(hidden) / len(hidden)
    spread = math.sqrt(sum((h - mean) ** 2 for h in hidden) / len(hidden) + 1e-5)
    scales = zip(hidden, state["transform.1.weight"], state["transform.1.bias"], strict=True)
    return linear("transform.3", [max(0.0, (h - mean) / spread * w + b) for h, w, b in scales])


def reference_losses(
    method: FocalGlobalDistillation,
    teacher: list[Tensor],
    student: list[Tensor],
    scene: Scene,
) -> dict[str, float]:
    """FGD written a second time, with Python's numbers and loops."""
    hyper, total = method.hyper, dict.fromkeys(KEYS, 0.0)
    usable = usable_cells(scene.predictions, scene.truth)
    for level, (t, s) in enumerate(zip(teacher, student, strict=True)):
        images, channels, height, width = t.shape
        cells = [(i, j) for i in range(height) for j in range(width)]
        for n in range(images):
            boxes = scene.truth.boxes[n][scene.truth.valid[n]].tolist()
            weights = [reference_weights(boxes, method.strides[level], i, j) for i, j in cells]
            is_usable = usable[level][n].flatten().tolist()
            grounds = sum(u and w == 0 for u, w in zip(is_usable, weights, strict=True))
            spatial, channel = [], []
            for f in (t, s):
                strong = [sum(map(abs, f[n, :, i, j].tolist())) / channels for i, j in cells]
                spatial.append([len(cells) * p for p in softmax([v / hyper.tau for v in strong])])
                mean = [sum(map(abs, f[n, c].flatten().tolist())) / len(cells) for c in range(3)]
                channel.append([channels * a for a in softmax([v / hyper.tau for v in mean])])
            difference = sum(abs(a - b) for a, b in zip(*spatial, strict=True))
            difference += sum(abs(a - b) for a, b in zip(*channel, strict=True))
            total[KEYS[2]] += hyper.gamma * difference / images
            added = [
                reference_context(blocks[level], f[n])  # type: ignore[arg-type]
                for blocks, f in ((method.teacher_context, t), (method.student_context, s))
            ]
            for k, (i, j) in enumerate(cells):
                for c in range(channels):
                    of_teacher, of_student = t[n, c, i, j].item(), s[n, c, i, j].item()
                    error = (of_teacher - of_student) ** 2 * spatial[0][k] * channel[0][c] / images
                    if is_usable[k] and weights[k] > 0:
                        total[KEYS[0]] += hyper.alpha * weights[k] * error
                    elif is_usable[k]:
                        total[KEYS[1]] += hyper.beta * error / grounds
                    apart = of_teacher + added[0][c] - of_student - added[1][c]
                    total[KEYS[3]] += hyper.lambda_global * apart**2 / images
    return total


@pytest.mark.parametrize("detector", DETECTORS)
def test_every_term_agrees_with_plain_loops(
    detector: str, make_predictions: MakePredictions, make_features: Make, truth: GroundTruth
) -> None:
    method = randomised(build(setting(detector), {}))
    teacher, student = make_features().cls, make_features(seed=1).cls
    scene = Scene(make_predictions(), truth, iteration=0)
    losses = method(view_of_neck(teacher), view_of_neck(student), scene)
    expected = reference_losses(method, teacher, student, scene)
    assert list(losses) == KEYS
    assert {key: value.item() for key, value in losses.items()} == pytest.approx(expected)
    assert all(value > 0 for value in expected.values())


def test_objects_share_their_weight_among_their_cells_and_the_smaller_wins() -> None:
    """Cells 0-2 x 0-1 of a box of 12 x 8 pixels at stride 8: it reaches 1.5 cells and 1 cell."""
    truth = boxes_of([0.0, 0, 12, 8], [8.0, 8, 8, 8])
    sixth = 1 / 6
    expected = torch.tensor([[[sixth, sixth, sixth, 0], [sixth, 1, sixth, 0], [0, 0, 0, 0]]])
    torch.testing.assert_close(object_weights(truth, (3, 4), 8), expected)


def test_an_object_on_the_image_s_edge_keeps_the_weight_of_the_cells_it_has_there() -> None:
    """It covers 2 x 2 cells by its numbers, one of them on the level."""
    truth = boxes_of([24.0, 16, 32, 24])
    weights = object_weights(truth, (3, 4), 8)
    assert weights[0, 2, 3] == 0.25
    assert weights.count_nonzero() == 1


def test_a_padded_box_is_no_object() -> None:
    truth = boxes_of([0.0, 0, 8, 8])
    assert not object_weights(replace(truth, valid=~truth.valid), (3, 4), 8).any()


def test_boxes_keep_their_place_on_an_image_with_padding() -> None:
    """Departure: the authors would stretch the box of an image of 16 columns over all 32."""
    truth = boxes_of([0.0, 0, 8, 8], size=(32, 16))
    assert object_weights(truth, (4, 4), 8)[0].count_nonzero(dim=0).tolist() == [2, 2, 0, 0]


def test_the_focal_losses_of_one_channel_by_hand() -> None:
    """Two cells, teacher (0, ln 3) and student (0, 0), tau 1: P_T is (1/2, 3/2), P_S (1, 1)."""
    teacher = torch.tensor([[[[0.0, math.log(3)]]]])
    on_object, elsewhere = torch.tensor([[[0.0, 0.5]]]), torch.tensor([[[1.0, 0.0]]])
    hyper = FgdParameters(alpha=1, beta=1, gamma=1, tau=1)
    student = torch.zeros(1, 1, 1, 2)
    losses = focal_losses(teacher, student, on_object, elsewhere, hyper)
    torch.testing.assert_close(losses, torch.tensor([0.5 * 1.5 * math.log(3) ** 2, 0, 1]))
    swapped = focal_losses(teacher, student, elsewhere, on_object, hyper)
    torch.testing.assert_close(swapped, torch.tensor([0, 0.5 * 1.5 * math.log(3) ** 2, 1]))


def test_channel_attention_of_a_map_by_hand() -> None:
    feature = torch.tensor([[[[1.0, -3.0]], [[0.0, 0.0]]]])
    strong = math.exp(2 / 0.5)
    expected = torch.tensor([[2 * strong / (strong + 1), 2 / (strong + 1)]])
    torch.testing.assert_close(map_channel_attention(feature, 0.5), expected)


def test_a_student_equal_to_its_teacher_loses_exactly_nothing_while_the_blocks_are_equal(
    make_predictions: MakePredictions, make_features: Make, truth: GroundTruth
) -> None:
    method = randomised(build(setting(), {}))
    method.student_context.load_state_dict(method.teacher_context.state_dict())
    student = make_features(requires_grad=True).cls
    scene = Scene(make_predictions(), truth, iteration=0)
    losses = method(view_of_neck(make_features().cls), view_of_neck(student), scene)
    assert [value.item() for value in losses.values()] == [0] * 4
    found = torch.autograd.grad(torch.stack(list(losses.values())).sum(), student)
    assert not any(gradient.any() for gradient in found)


def test_a_context_block_begins_as_the_identity(make_features: Make) -> None:
    (feature, _) = make_features().cls
    assert GlobalContext(3).double()(feature).equal(feature)


def test_a_map_of_one_channel_has_a_context() -> None:
    assert GlobalContext(1)(torch.ones(2, 1, 3, 3)).shape == (2, 1, 3, 3)


def test_features_on_ignore_regions_move_neither_foreground_nor_background(
    make_predictions: MakePredictions, make_features: Make, truth: GroundTruth
) -> None:
    ignored = replace(truth, ignored_boxes=torch.tensor([0.0, 0, 48, 32]).expand(2, 1, 4))
    scene = Scene(make_predictions(), ignored, iteration=0)
    method = build(setting(), {}).double()
    losses = method(
        view_of_neck(make_features().cls), view_of_neck(make_features(seed=1).cls), scene
    )
    assert losses[KEYS[0]] == losses[KEYS[1]] == 0


def test_the_gradient_passes_gradcheck(
    make_predictions: MakePredictions, make_features: Make, truth: GroundTruth
) -> None:
    sizes = ((2, 3), (1, 2))
    options = {"alpha": 1.0, "beta": 1.0, "gamma": 1.0, "lambda_global": 1.0}
    method = randomised(build(setting(strides=(16, 24)), options))
    scene = Scene(make_predictions(sizes, (16, 24)), truth, iteration=0)
    teacher = make_features(sizes).cls

    def total(*levels: Tensor) -> Tensor:
        losses = method(view_of_neck(teacher), view_of_neck(list(levels)), scene)
        return torch.stack(list(losses.values())).sum()

    # Away from 0, where abs has its kink.
    levels = [(level + 0.5).requires_grad_() for level in make_features(sizes, seed=1).cls]
    assert torch.autograd.gradcheck(total, levels)


@pytest.mark.parametrize("detector", DETECTORS)
def test_each_detector_has_the_authors_numbers_and_those_given_win(detector: str) -> None:
    has_anchors = detector in ("atss", "gfl", "ddod")
    preset = FgdParameters.preset(setting(detector))
    found = (preset.alpha, preset.beta, preset.gamma, preset.lambda_global, preset.tau)
    assert found == (
        (1e-3, 5e-4, 5e-4, 5e-6, 0.5) if has_anchors else (1.6e-3, 8e-4, 8e-4, 8e-6, 0.8)
    )
    given = build(setting(detector), {"alpha": 0.5}).hyper
    assert (given.alpha, given.tau) == (0.5, preset.tau)
