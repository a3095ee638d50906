from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from mmengine.logging import HistoryBuffer
from safetensors.torch import save_file

from pgd_core.detectors.build import build_detector
from pgd_core.detectors.checkpoint import read_weights
from pgd_core.detectors.weights import inherit_head, load_whole, misfit
from pgd_core.errors import TeacherUnusable, WeightsUnusable
from tests.pgd_core.detectors.batches import small_spec


def test_safetensors_and_checkpoints_of_mmengine_give_the_same_tensors(tmp_path: Path) -> None:
    weights = {"a.weight": torch.rand(2, 3)}
    save_file(weights, tmp_path / "a.safetensors")
    history = HistoryBuffer([1.0, 2.0], [1, 1])
    meta = {"epoch": 3, "seed": np.float64(1.5)}
    checkpoint = {"state_dict": weights, "meta": meta, "message_hub": {"loss": history}}
    torch.save(checkpoint, tmp_path / "a.pth")
    for name in ("a.safetensors", "a.pth"):
        assert torch.equal(read_weights(tmp_path / name)["a.weight"], weights["a.weight"])


def test_a_bare_state_dict_and_one_of_data_parallel_are_read(tmp_path: Path) -> None:
    torch.save({"module.a": torch.ones(1)}, tmp_path / "a.pth")
    assert list(read_weights(tmp_path / "a.pth")) == ["a"]


class _Hostile:
    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.marker,))


@pytest.mark.parametrize("wrap", [lambda h: h, lambda h: {"state_dict": {"a": h}}])
def test_a_pickle_that_would_execute_code_is_refused_without_effect(
    tmp_path: Path, wrap: Any
) -> None:
    marker = tmp_path / "executed"
    for save in (torch.save, lambda o, p: p.write_bytes(pickle.dumps(o))):
        save(wrap(_Hostile(marker)), tmp_path / "a.pth")
        with pytest.raises(WeightsUnusable):
            read_weights(tmp_path / "a.pth")
    assert not marker.exists()


@pytest.mark.parametrize("name", ["a.pth", "a.safetensors"])
@pytest.mark.parametrize("content", [b"", b"no checkpoint", b"\x80\x04."])
def test_a_file_that_is_no_checkpoint_is_refused(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(WeightsUnusable, match=name):
        read_weights(tmp_path / name)


@pytest.mark.parametrize("name", ["a.pth", "a.safetensors"])
def test_a_truncated_file_is_refused(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    weights = {"a": torch.rand(1000)}
    save_file(weights, path) if name.endswith("safetensors") else torch.save(weights, path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(WeightsUnusable, match=name):
        read_weights(path)


def test_values_that_are_no_tensors_are_named(tmp_path: Path) -> None:
    torch.save({"a": torch.ones(1), "b": 3}, tmp_path / "a.pth")
    with pytest.raises(WeightsUnusable, match=r"no tensors: b"):
        read_weights(tmp_path / "a.pth")


def test_a_misfit_names_shapes_missing_and_unexpected_tensors_and_loads_nothing() -> None:
    model = build_detector(small_spec(), 3)
    weights = {k: torch.full_like(v, 7) for k, v in model.state_dict().items()}
    weights["bbox_head.conv_cls.bias"] = torch.zeros(80)
    del weights["bbox_head.conv_reg.bias"]
    weights["mask_head.bias"] = torch.zeros(1)
    before = {k: v.clone() for k, v in model.state_dict().items()}
    with pytest.raises(TeacherUnusable) as error:
        load_whole(model, weights, "the teacher", TeacherUnusable)
    for part in ("conv_cls.bias (80,) instead of (3,)", "conv_reg.bias", "mask_head.bias"):
        assert part in error.value.message
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())


def test_weights_that_are_not_finite_are_refused() -> None:
    model = build_detector(small_spec(), 3)
    weights = dict(model.state_dict())
    weights["bbox_head.conv_cls.bias"] = torch.full((3,), float("nan"))
    with pytest.raises(TeacherUnusable, match=r"NaN.*conv_cls\.bias"):
        load_whole(model, weights, "the teacher", TeacherUnusable)


def test_another_depth_is_a_misfit_both_ways() -> None:
    small, large = (
        build_detector(small_spec(), 3),
        build_detector(small_spec("fcos", "resnet34"), 3),
    )
    assert misfit(small, large.state_dict()).unexpected
    assert misfit(large, small.state_dict()).missing
    assert not misfit(small, small.state_dict())


def test_the_head_is_inherited_and_what_does_not_fit_is_listed() -> None:
    teacher = build_detector(small_spec("fcos", "resnet18"), 3)
    student = build_detector(small_spec("fcos", "mobilenet_v2"), 3)
    own_backbone = {k: v.clone() for k, v in student.state_dict().items() if "backbone" in k}
    taken = inherit_head(student, teacher)
    assert torch.equal(student.bbox_head.conv_cls.weight, teacher.bbox_head.conv_cls.weight)
    assert taken.skipped == tuple(f"neck.lateral_convs.{i}.conv.weight" for i in range(3))
    assert not any(name.startswith("backbone") for name in taken.copied)
    now = student.state_dict()
    assert all(torch.equal(now[k], v) for k, v in own_backbone.items())
