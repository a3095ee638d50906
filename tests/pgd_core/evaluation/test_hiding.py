from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from pgd_core.detectors.build import build_detector
from pgd_core.evaluation.hiding import best_of_objects, detect_without, hidden_positions
from pgd_core.jobs.spec import DetectorName
from tests.pgd_core.detectors.batches import CLASSES, batch, small_spec


def _plainly(quality: Tensor, pool: Tensor, percent: float) -> Tensor:
    hidden = torch.zeros_like(pool)
    for image in range(len(pool)):
        members = [a for a in range(pool.shape[1]) if pool[image, a]]
        count = math.ceil(round(len(members) * percent / 100, 6))
        best = sorted(members, key=lambda a: (-float(quality[image, a]), a))[:count]
        hidden[image, best] = True
    return hidden


@pytest.mark.parametrize("percent", [0, 0.1, 1, 7, 30, 50, 99.9, 100])
def test_hidden_are_the_best_of_each_images_own_pool(percent: float) -> None:
    random = torch.Generator().manual_seed(0)
    quality = torch.rand(3, 200, generator=random).double()
    quality[:, ::3] = 0  # many equals
    pool = torch.rand(3, 200, generator=random) < torch.tensor([[0.1], [0.5], [1.0]])
    hidden = hidden_positions(quality, pool, percent)
    assert torch.equal(hidden, _plainly(quality, pool, percent))


def test_a_share_is_rounded_up_to_whole_positions_and_rounding_errors_are_not() -> None:
    quality = torch.tensor([[0.1, 0.9, 0.5, 0.7, 0.2, 0.3, 0.4, 0.6, 0.8, 0.0]])
    everywhere = torch.ones(1, 10, dtype=torch.bool)
    counts = {p: int(hidden_positions(quality, everywhere, p).sum()) for p in (0, 1, 10, 10.1, 70)}
    assert counts == {0: 0, 1: 1, 10: 1, 10.1: 2, 70: 7}
    assert hidden_positions(quality, everywhere, 10)[0].nonzero().tolist() == [[1]]


def test_an_image_without_objects_hides_nothing_inside_boxes() -> None:
    quality = best_of_objects(torch.zeros(2, 0, 8))
    assert quality.shape == (2, 8)
    assert not hidden_positions(quality, torch.zeros(2, 8, dtype=torch.bool), 100).any()


def test_a_position_counts_with_its_best_object() -> None:
    quality = torch.tensor([[[0.1, 0.5, 0.0], [0.4, 0.2, 0.0]]])
    assert best_of_objects(quality).tolist() == [[pytest.approx(0.4), 0.5, 0.0]]


@pytest.mark.parametrize("detector", DetectorName)
def test_with_nothing_hidden_it_is_what_the_detector_finds_and_with_everything_it_is_nothing(
    detector: DetectorName,
) -> None:
    model, outputs, metas, plain = _findings(detector)
    positions = sum(level.shape[-2] * level.shape[-1] for level in outputs[0])
    nothing = torch.zeros(3, positions, dtype=torch.bool)
    for ours, theirs in zip(
        detect_without(model.bbox_head, outputs, metas, nothing), plain, strict=True
    ):
        assert len(theirs.pred_instances) > 0
        for name in ("bboxes", "scores", "labels"):
            assert torch.equal(ours[name], theirs.pred_instances[name])
    assert all(
        len(found) == 0 for found in detect_without(model.bbox_head, outputs, metas, ~nothing)
    )


def test_hiding_is_of_one_image_and_one_position_alone() -> None:
    model, outputs, metas, plain = _findings("gfl")
    hidden = torch.zeros(3, sum(s.shape[-2] * s.shape[-1] for s in outputs[0]), dtype=torch.bool)
    model.bbox_head.test_cfg.nms = {"type": "nms", "iou_threshold": 1.0}
    model.bbox_head.test_cfg.max_per_img = 10**6
    before = detect_without(model.bbox_head, outputs, metas, hidden)
    hidden[1, 7] = True
    after = detect_without(model.bbox_head, outputs, metas, hidden)
    lost = [len(b) - len(a) for b, a in zip(before, after, strict=True)]
    assert lost == [0, CLASSES, 0]
    assert len(plain) == 3


def _findings(detector: str) -> tuple[Any, Any, list[dict[str, Any]], Any]:
    """A random detector that finds much: its raw outputs and what it makes of them itself."""
    torch.manual_seed(1)
    model: Any = build_detector(small_spec(detector), CLASSES).eval()
    model.bbox_head.test_cfg.score_thr = 0.0
    for name, parameter in model.bbox_head.named_parameters():
        if parameter.dim() == 4 and "offset" not in name:
            nn.init.normal_(parameter, std=0.1)
    data = model.data_preprocessor(batch())
    with torch.no_grad():
        outputs = model.bbox_head(model.extract_feat(data["inputs"]))
        plain = model.predict(data["inputs"], data["data_samples"])
    return model, outputs, [sample.metainfo for sample in data["data_samples"]], plain
