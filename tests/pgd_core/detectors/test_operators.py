"""MMCV's operators in plain PyTorch, against plain loops, torchvision and the compiled ones."""

from __future__ import annotations

import math
import subprocess
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from pgd_core.detectors import operators
from pgd_core.detectors.operators import install, nms

from mmcv.ops import (  # isort: skip  -- needs the operators above
    DeformConv2dPack,
    ModulatedDeformConv2dPack,
    batched_nms,
    deform_conv2d,
    modulated_deform_conv2d,
    roi_align,
    sigmoid_focal_loss,
)
from mmcv.ops import nms as mmcv_nms  # isort: skip
from mmdet.models.losses.focal_loss import py_sigmoid_focal_loss  # isort: skip


@pytest.fixture(autouse=True)
def ours(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Our own operators, even where torchvision could do the work."""
    if "torchvision_too" not in request.fixturenames:
        monkeypatch.setattr(operators, "torchvision", None)


@pytest.fixture
def torchvision_too() -> ModuleType:
    """torchvision, as the operators use it; skipped where it does not import."""
    pytest.importorskip("torchvision")
    if operators.torchvision is None:
        pytest.skip("torchvision's operators do not load")
    return operators.torchvision


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


# ── install ─────────────────────────────────────────────────────────────────────────────────────


def test_install_changes_nothing_the_second_time() -> None:
    before = sys.modules["mmcv._ext"]
    install()
    assert sys.modules["mmcv._ext"] is before


def test_install_leaves_compiled_operators_alone(tmp_path: Path) -> None:
    package = tmp_path / "mmcv"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "_ext.py").write_text("compiled = True\n")
    script = (
        "import operators_copy, sys; assert 'mmcv._ext' not in sys.modules;"
        "import mmcv._ext; assert mmcv._ext.compiled"
    )
    run_beside_the_shipped_file(tmp_path, script)


def test_the_shipped_file_alone_makes_mmcv_ops_import(tmp_path: Path) -> None:
    script = (
        "import operators_copy, torch; from mmcv.ops import nms;"
        "assert nms(torch.tensor([[0., 0, 9, 9]]), torch.ones(1), 0.5)[1].tolist() == [0]"
    )
    run_beside_the_shipped_file(tmp_path, script)


def run_beside_the_shipped_file(folder: Path, script: str) -> None:
    (folder / "operators_copy.py").write_bytes(Path(operators.__file__).read_bytes())
    subprocess.run([sys.executable, "-c", script], cwd=folder, check=True)


def test_an_operator_that_is_not_here_says_its_name_and_the_way_out_when_called() -> None:
    pictures, rois = torch.zeros(1, 1, 4, 4), torch.tensor([[0.0, 0, 0, 2, 2]])
    with pytest.raises(NotImplementedError, match=r"roi_align_forward.*install the compiled mmcv"):
        roi_align(pictures, rois, (2, 2), 1.0, 0, "avg", True)


def test_the_installed_module_has_every_operator_but_no_other_module_attributes() -> None:
    extension = sys.modules["mmcv._ext"]
    assert callable(extension.any_name_at_all)
    assert not hasattr(extension, "__path__")


# ── nms ─────────────────────────────────────────────────────────────────────────────────────────


def nms_by_loops(boxes: Tensor, scores: Tensor, iou_threshold: float, offset: int) -> list[int]:
    order = sorted(range(len(boxes)), key=lambda i: -float(scores[i]))  # sorted is stable
    kept: list[int] = []
    for i in order:
        if not any(iou(boxes[i], boxes[j], offset) > iou_threshold for j in kept):
            kept.append(i)
    return kept


def iou(a: Tensor, b: Tensor, offset: int) -> Tensor:
    width = (torch.min(a[2], b[2]) - torch.max(a[0], b[0]) + offset).clamp(min=0)
    height = (torch.min(a[3], b[3]) - torch.max(a[1], b[1]) + offset).clamp(min=0)
    area_a = (a[2] - a[0] + offset) * (a[3] - a[1] + offset)
    area_b = (b[2] - b[0] + offset) * (b[3] - b[1] + offset)
    return width * height / (area_a + area_b - width * height)


def random_boxes(count: int, span: float = 40.0, seed: int = 0) -> Tensor:
    corners = torch.rand(count, 2, generator=seeded(seed)) * span
    return torch.cat([corners, corners + torch.rand(count, 2, generator=seeded(seed + 1)) * 40], 1)


@pytest.mark.parametrize("offset", [0, 1])
@pytest.mark.parametrize("iou_threshold", [0.0, 0.3, 0.6, 1.0])
@pytest.mark.parametrize("matrix_cells", [1, 300, 1 << 19])
def test_nms_keeps_what_plain_loops_keep_in_blocks_of_any_size(
    offset: int, iou_threshold: float, matrix_cells: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(operators, "IOU_MATRIX_CELLS", matrix_cells)
    boxes = random_boxes(70)
    boxes = torch.cat([boxes, boxes[::3]])  # with duplicates
    scores = (torch.rand(len(boxes), generator=seeded()) * 12).round()  # with ties
    expected = nms_by_loops(boxes, scores, iou_threshold, offset)
    assert nms(boxes, scores, iou_threshold, offset).tolist() == expected


def test_nms_of_equal_scores_keeps_the_first() -> None:
    boxes = random_boxes(1).expand(5, 4)
    assert nms(boxes, torch.ones(5), 0.5, 0).tolist() == [0]


def test_nms_keeps_a_box_whose_only_better_neighbour_is_itself_suppressed() -> None:
    boxes = torch.tensor([[0.0, 0, 10, 10], [4, 0, 14, 10], [8, 0, 18, 10]])
    assert nms(boxes, torch.tensor([0.9, 0.8, 0.7]), 0.4, 0).tolist() == [0, 2]


def test_nms_settles_a_long_chain_of_suppressions() -> None:
    left = torch.arange(200.0) * 4
    boxes = torch.stack([left, left * 0, left + 10, left * 0 + 10], 1)  # IoU 6/14 with the next
    assert nms(boxes, -left, 0.4, 0).tolist() == list(range(0, 200, 2))


def test_nms_keeps_a_box_whose_iou_is_exactly_the_threshold() -> None:
    boxes = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 6]])
    scores = torch.tensor([0.9, 0.8])
    assert nms(boxes, scores, 0.6, 0).tolist() == [0, 1]
    assert nms(boxes, scores, 0.599, 0).tolist() == [0]


def test_nms_with_offset_counts_pixels() -> None:
    boxes = torch.tensor([[0.0, 0, 1, 1], [0, 0, 0, 1]])  # 2 x 2 and 1 x 2 pixels
    scores = torch.tensor([0.9, 0.8])
    assert nms(boxes, scores, 0.4, 1).tolist() == [0]
    assert nms(boxes, scores, 0.4, 0).tolist() == [0, 1]  # the second has no area


def test_nms_of_no_boxes_keeps_none() -> None:
    kept = nms(torch.zeros(0, 4), torch.zeros(0), 0.5, 0)
    assert kept.shape == (0,)
    assert kept.dtype == torch.int64


def test_nms_of_one_box_keeps_it() -> None:
    assert nms(random_boxes(1), torch.zeros(1), 0.0, 0).tolist() == [0]


def test_nms_takes_half_precision() -> None:
    boxes, scores = random_boxes(30).bfloat16(), torch.rand(30, generator=seeded())
    expected = nms_by_loops(boxes.float(), scores, 0.4, 0)
    assert nms(boxes, scores, 0.4, 0).tolist() == expected


def test_mmcv_nms_filters_by_score_and_number() -> None:
    boxes, scores = random_boxes(50), torch.rand(50, generator=seeded())
    _, kept = mmcv_nms(boxes, scores, 0.5, score_threshold=0.3, max_num=4)
    expected = [i for i in nms_by_loops(boxes, scores, 0.5, 0) if scores[i] > 0.3]
    assert kept.tolist() == expected[:4]


def test_batched_nms_suppresses_within_a_class_only() -> None:
    boxes, scores = random_boxes(60), torch.rand(60, generator=seeded())
    classes = torch.arange(60) % 3
    _, kept = batched_nms(boxes, scores, classes, {"type": "nms", "iou_threshold": 0.4})
    expected = []
    for label in range(3):
        members = (classes == label).nonzero().squeeze(1)
        picked = nms_by_loops(boxes[members], scores[members], 0.4, 0)
        expected += members[picked].tolist()
    assert kept.tolist() == sorted(expected, key=lambda i: -float(scores[i]))


def test_nms_is_torchvisions(torchvision_too: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    boxes, scores = random_boxes(300, span=200.0), torch.rand(300, generator=seeded())
    theirs = torchvision_too.ops.nms(boxes, scores, 0.5)
    assert nms(boxes, scores, 0.5, 0).tolist() == theirs.tolist()
    monkeypatch.setattr(operators, "torchvision", None)
    assert nms(boxes, scores, 0.5, 0).tolist() == theirs.tolist()


# ── focal loss ──────────────────────────────────────────────────────────────────────────────────


def focal_by_loops(
    logits: Tensor, target: Tensor, gamma: float, alpha: float
) -> list[list[float]]:  # float64
    losses = []
    for row, label in zip(logits.double().tolist(), target.tolist(), strict=True):
        p = [1 / (1 + math.exp(-logit)) for logit in row]
        losses.append(
            [
                -alpha * (1 - q) ** gamma * math.log(q)
                if index == label
                else -(1 - alpha) * q**gamma * math.log(1 - q)
                for index, q in enumerate(p)
            ]
        )
    return losses


def focal_inputs(rows: int = 12, classes: int = 4) -> tuple[Tensor, Tensor]:
    logits = torch.randn(rows, classes, generator=seeded()) * 3
    return logits, torch.arange(rows) % (classes + 1)  # the last is background


@pytest.mark.parametrize("gamma", [0.0, 1.5, 2.0])
def test_focal_loss_is_the_plain_loops_one(gamma: float) -> None:
    logits, target = focal_inputs()
    loss = sigmoid_focal_loss(logits, target, gamma, 0.25, None, "none")
    expected = torch.tensor(focal_by_loops(logits, target, gamma, 0.25))
    torch.testing.assert_close(loss, expected, rtol=1e-5, atol=1e-6)


def test_focal_loss_and_its_gradient_are_mmdets_python_ones() -> None:
    logits, target = focal_inputs()
    ours, theirs = (logits.clone().requires_grad_() for _ in range(2))
    one_hot = F.one_hot(target, 5)[:, :4]
    loss = sigmoid_focal_loss(ours, target, 2.0, 0.25, None, "none")
    their_loss = py_sigmoid_focal_loss(theirs, one_hot, gamma=2.0, alpha=0.25, reduction="none")
    torch.testing.assert_close(loss, their_loss)
    upstream = torch.rand(loss.shape, generator=seeded(1))
    loss.backward(upstream)
    their_loss.backward(upstream)
    torch.testing.assert_close(ours.grad, theirs.grad)


@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_focal_loss_has_the_gradient_of_finite_differences(reduction: str) -> None:
    logits, target = focal_inputs()
    weight = torch.rand(4, generator=seeded(2), dtype=torch.float64) + 0.5
    logits = logits.double().requires_grad_()
    torch.autograd.gradcheck(
        lambda x: sigmoid_focal_loss(x, target, 1.7, 0.3, weight, reduction), logits
    )


def test_focal_loss_weight_is_of_the_rows_class_and_1_for_background() -> None:
    logits, target = focal_inputs()
    weight = torch.tensor([0.5, 2.0, 3.0, 4.0])
    plain = sigmoid_focal_loss(logits, target, 2.0, 0.25, None, "none")
    weighted = sigmoid_focal_loss(logits, target, 2.0, 0.25, weight, "none")
    rows = torch.tensor([0.5, 2.0, 3.0, 4.0, 1.0])[target]
    torch.testing.assert_close(weighted, plain * rows[:, None])


def test_focal_loss_of_extreme_logits_is_finite_and_linear() -> None:
    logits = torch.tensor([[-200.0, 200.0]], requires_grad=True)
    loss = sigmoid_focal_loss(logits, torch.tensor([0]), 2.0, 0.25, None, "none")
    torch.testing.assert_close(loss, torch.tensor([[0.25 * 200, 0.75 * 200]]))
    loss.sum().backward()
    torch.testing.assert_close(logits.grad, torch.tensor([[-0.25, 0.75]]))


def test_focal_loss_of_half_precision_is_the_float32_one_rounded() -> None:
    logits, target = focal_inputs()
    loss = sigmoid_focal_loss(logits.bfloat16(), target, 2.0, 0.25, None, "none")
    exact = sigmoid_focal_loss(logits.bfloat16().float(), target, 2.0, 0.25, None, "none")
    assert torch.equal(loss, exact.bfloat16())


def test_focal_loss_of_no_rows_is_empty() -> None:
    logits = torch.zeros(0, 4, requires_grad=True)
    loss = sigmoid_focal_loss(logits, torch.zeros(0, dtype=torch.int64), 2.0, 0.25, None, "sum")
    loss.backward()
    assert loss == 0
    assert logits.grad.shape == (0, 4)


# ── deformable convolution ──────────────────────────────────────────────────────────────────────


def deform_conv_by_loops(
    input: Tensor,
    offset: Tensor,
    weight: Tensor,
    stride: int = 1,
    padding: int = 0,
    dilation: int = 1,
    groups: int = 1,
    deform_groups: int = 1,
    mask: Tensor | None = None,
) -> Tensor:
    batch, channels = input.shape[:2]
    out_channels, in_group, kernel_h, kernel_w = weight.shape
    _, _, out_height, out_width = offset.shape
    cells = kernel_h * kernel_w
    output = input.new_zeros(batch, out_channels, out_height, out_width)
    positions = torch.cartesian_prod(*map(torch.arange, (batch, out_height, out_width))).tolist()
    for b, oy, ox in positions:
        for c in range(channels):
            deform_group = c // (channels // deform_groups)
            out_first = c // in_group * (out_channels // groups)
            for cell in range(cells):
                ky, kx = divmod(cell, kernel_w)
                move = offset[b, 2 * (deform_group * cells + cell) :, oy, ox]
                y = oy * stride - padding + ky * dilation + float(move[0])
                x = ox * stride - padding + kx * dilation + float(move[1])
                value = read_by_loops(input[b, c], y, x)
                if mask is not None:
                    value = value * float(mask[b, deform_group * cells + cell, oy, ox])
                for o in range(out_first, out_first + out_channels // groups):
                    output[b, o, oy, ox] += weight[o, c % in_group, ky, kx] * value
    return output


def read_by_loops(plane: Tensor, y: float, x: float) -> float:
    height, width = plane.shape
    if y <= -1 or x <= -1 or y >= height or x >= width:
        return 0.0
    total = 0.0
    for row in (math.floor(y), math.floor(y) + 1):
        for column in (math.floor(x), math.floor(x) + 1):
            if 0 <= row < height and 0 <= column < width:
                share = (1 - abs(y - row)) * (1 - abs(x - column))
                total += share * float(plane[row, column])
    return total


CASES = {
    "plain": {},
    "padded": {"padding": 1},
    "stride 2": {"stride": 2, "padding": 1},
    "dilation 2": {"dilation": 2, "padding": 2},
    "groups": {"groups": 2, "padding": 1},
    "deform groups": {"deform_groups": 2, "padding": 1},
    "all": {"stride": 2, "padding": 2, "dilation": 2, "groups": 2, "deform_groups": 4},
}


def deform_case(
    case: dict[str, int], size: tuple[int, int] = (6, 5), reach: float = 2.0, batch: int = 2
) -> tuple[Tensor, Tensor, Tensor, list[int]]:
    """Input, offset and weight in float64, and the remaining arguments in mmcv's order."""
    geometry = {"stride": 1, "padding": 0, "dilation": 1, "groups": 1, "deform_groups": 1} | case
    stride, padding, dilation, groups, deform_groups = geometry.values()
    random = {"generator": seeded(3), "dtype": torch.float64}
    out = [(side + 2 * padding - 2 * dilation - 1) // stride + 1 for side in size]
    input = torch.randn(batch, 4, *size, **random)
    offset = torch.randn(batch, deform_groups * 18, *out, **random) * reach
    weight = torch.randn(6, 4 // groups, 3, 3, **random)
    return input, offset, weight, [stride, padding, dilation, groups, deform_groups]


@pytest.mark.parametrize("reach", [0.7, 20.0], ids=["near", "far outside"])
@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_deform_conv_is_the_plain_loops_one(case: dict[str, int], reach: float) -> None:
    *operands, geometry = deform_case(case, reach=reach)
    expected = deform_conv_by_loops(*operands, *geometry)
    torch.testing.assert_close(deform_conv2d(*operands, *geometry), expected)


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_deform_conv_with_no_offset_is_a_convolution(case: dict[str, int]) -> None:
    input, offset, weight, geometry = deform_case(case)
    input, offset, weight = input.float(), offset.float() * 0, weight.float()
    expected = F.conv2d(input, weight, None, *geometry[:4])
    output = deform_conv2d(input, offset, weight, *geometry)
    torch.testing.assert_close(output, expected, rtol=1e-5, atol=1e-5)


def test_deform_conv_with_a_whole_offset_is_a_convolution_of_the_shifted_input() -> None:
    input, offset, weight, geometry = deform_case({"padding": 1}, size=(7, 9))
    offset[:, 0::2], offset[:, 1::2] = 2.0, -3.0  # reads 2 below and 3 to the left
    shifted = F.pad(input, (3, 0, 0, 2))[:, :, 2:, :9]  # x(y + 2, x - 3)
    expected = F.conv2d(F.pad(shifted, (1, 1, 1, 1)), weight)
    output = deform_conv2d(input, offset, weight, *geometry)
    inner = (
        slice(None),
        slice(None),
        slice(1, -1),
        slice(1, -1),
    )  # the border reads beyond shifted
    torch.testing.assert_close(output[inner], expected[inner])


@pytest.mark.parametrize("case", [CASES["padded"], CASES["all"]], ids=["padded", "all"])
def test_deform_conv_has_the_gradients_of_finite_differences(case: dict[str, int]) -> None:
    *operands, geometry = deform_case(case, size=(4, 5), batch=1)
    leaves = [operand.requires_grad_() for operand in operands]
    torch.autograd.gradcheck(lambda *x: deform_conv2d(*x, *geometry), leaves, fast_mode=True)


def test_deform_conv_with_no_offset_has_the_slope_to_the_right_and_none_outside() -> None:
    input = torch.tensor([[[[1.0, 4.0, 9.0]]]], dtype=torch.float64)
    offset = torch.zeros(1, 2, 1, 5, dtype=torch.float64, requires_grad=True)
    weight = torch.ones(1, 1, 1, 1, dtype=torch.float64)
    deform_conv2d(input, offset, weight, 1, (0, 1), 1).sum().backward()
    assert offset.grad[0, 1, 0].tolist() == [0.0, 3.0, 5.0, -9.0, 0.0]  # x: at -1, 0, 1, 2, 3
    assert offset.grad[0, 0, 0].tolist() == [0.0, -1.0, -4.0, -9.0, 0.0]  # y: below is nothing


def test_deform_conv_gradients_do_not_depend_on_the_number_of_images_a_step(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    *operands, geometry = deform_case({"padding": 1}, batch=3)

    def output_and_gradients() -> list[Tensor]:
        leaves = [operand.clone().requires_grad_() for operand in operands]
        output = deform_conv2d(*leaves, *geometry)
        return [output, *torch.autograd.grad(output.square().sum(), leaves)]

    at_once = output_and_gradients()
    monkeypatch.setattr(operators, "COLUMN_CELLS", 1)
    torch.testing.assert_close(output_and_gradients(), at_once)


@pytest.mark.parametrize("size", [(1, 1), (1, 2), (2, 1), (3, 17)])
def test_deform_conv_reads_inputs_of_any_size(size: tuple[int, int]) -> None:
    *operands, geometry = deform_case({"padding": 1}, size=size)
    expected = deform_conv_by_loops(*operands, *geometry)
    torch.testing.assert_close(deform_conv2d(*operands, *geometry), expected)


def test_deform_conv_takes_channels_last() -> None:
    *operands, geometry = deform_case(CASES["all"])
    moved = [operand.to(memory_format=torch.channels_last) for operand in operands]
    torch.testing.assert_close(
        deform_conv2d(*moved, *geometry), deform_conv2d(*operands, *geometry)
    )


@pytest.mark.parametrize("layer", [DeformConv2dPack, ModulatedDeformConv2dPack])
def test_a_deformable_layer_trains_under_bfloat16_autocast(layer: type[torch.nn.Module]) -> None:
    torch.manual_seed(0)
    module = layer(8, 8, 3, padding=1)
    input = torch.randn(2, 8, 33, 40, generator=seeded())
    exact = module(input)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output = module(input)
    output.float().square().mean().backward()
    torch.testing.assert_close(output.float(), exact, rtol=0.02, atol=0.05)
    assert all(parameter.grad.isfinite().all() for parameter in module.parameters())
    assert all(parameter.grad.abs().sum() > 0 for parameter in module.parameters())


def test_deformable_layers_have_the_parameters_of_compiled_mmcv() -> None:
    assert set(DeformConv2dPack(4, 4, 3).state_dict()) == {
        "weight",
        "conv_offset.weight",
        "conv_offset.bias",
    }


def test_modulated_deform_conv_is_the_plain_loops_one_and_has_its_gradients() -> None:
    input, offset, weight, geometry = deform_case(CASES["all"], size=(5, 5), batch=1)
    deform_groups = geometry[-1]
    mask = torch.rand(1, deform_groups * 9, *offset.shape[2:], generator=seeded()).double()
    bias = torch.randn(6, generator=seeded()).double()
    expected = deform_conv_by_loops(input, offset, weight, *geometry, mask=mask)
    output = modulated_deform_conv2d(input, offset, mask, weight, bias, *geometry)
    torch.testing.assert_close(output, expected + bias[:, None, None])
    leaves = [x.requires_grad_() for x in (input, offset, mask, weight, bias)]
    torch.autograd.gradcheck(
        lambda *x: modulated_deform_conv2d(*x, *geometry), leaves, fast_mode=True
    )


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_deform_conv_is_torchvisions(
    case: dict[str, int], torchvision_too: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    *operands, geometry = deform_case(case)
    theirs = torchvision_too.ops.deform_conv2d(*operands, None, *geometry[:3])
    torch.testing.assert_close(deform_conv2d(*operands, *geometry), theirs)
    monkeypatch.setattr(operators, "torchvision", None)
    torch.testing.assert_close(deform_conv2d(*operands, *geometry), theirs)


def test_where_torchvision_is_installed_it_does_the_work(monkeypatch: pytest.MonkeyPatch) -> None:
    called = []

    def deform_conv2d_of_torchvision(  # its signature
        input: Tensor,
        offset: Tensor,
        weight: Tensor,
        bias: Tensor | None = None,
        stride: tuple[int, int] = (1, 1),
        padding: tuple[int, int] = (0, 0),
        dilation: tuple[int, int] = (1, 1),
        mask: Tensor | None = None,
    ) -> Tensor:
        called.append("deform_conv2d")
        geometry = (stride, padding, dilation)
        return operators._sample_and_multiply(geometry, input, offset, weight, mask, bias)

    def nms_of_torchvision(boxes: Tensor, scores: Tensor, iou_threshold: float) -> Tensor:
        called.append("nms")
        return torch.tensor(nms_by_loops(boxes, scores, iou_threshold, 0))

    *operands, geometry = deform_case(CASES["all"])
    expected = deform_conv2d(*operands, *geometry)
    theirs = SimpleNamespace(deform_conv2d=deform_conv2d_of_torchvision, nms=nms_of_torchvision)
    monkeypatch.setattr(operators, "torchvision", SimpleNamespace(ops=theirs))
    torch.testing.assert_close(deform_conv2d(*operands, *geometry), expected)
    assert nms(random_boxes(1), torch.ones(1), 0.5, 0).tolist() == [0]
    assert nms(random_boxes(1), torch.ones(1), 0.5, 1).tolist() == [0]  # it has no offset: ours
    assert called == ["deform_conv2d", "nms"]


# ── compiled MMCV ───────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def compiled() -> ModuleType:
    """The compiled operators; skipped on mmcv-lite."""
    extension = sys.modules["mmcv._ext"]
    if not getattr(extension, "__file__", None):
        pytest.skip("mmcv's operators are not compiled here")
    return extension


@pytest.mark.parametrize("offset", [0, 1])
def test_nms_is_compiled_mmcvs(compiled: ModuleType, offset: int) -> None:
    boxes, scores = random_boxes(300, span=200.0), torch.rand(300, generator=seeded())
    theirs = compiled.nms(boxes, scores, iou_threshold=0.5, offset=offset)
    assert nms(boxes, scores, 0.5, offset).tolist() == theirs.tolist()


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_deform_conv_and_its_gradients_are_compiled_mmcvs(
    case: dict[str, int],
    compiled: ModuleType,  # noqa: ARG001  -- mmcv.ops calls it
) -> None:
    *operands, geometry = deform_case(case)
    leaves = [operand.requires_grad_() for operand in operands]
    theirs = deform_conv2d(*leaves, *geometry)
    pairs = [(side, side) for side in geometry[:3]]
    ours = operators._deform_conv(tuple(pairs), **dict(zip(NAMES, leaves, strict=True)))
    torch.testing.assert_close(ours, theirs)
    torch.testing.assert_close(
        torch.autograd.grad(ours.square().sum(), leaves),
        torch.autograd.grad(theirs.square().sum(), leaves),
    )


NAMES = ("input", "offset", "weight")
