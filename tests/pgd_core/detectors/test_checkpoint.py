from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from mmengine.logging import HistoryBuffer
from safetensors.torch import save_file

from pgd_core.detectors.checkpoint import read_checkpoint, read_weights
from pgd_core.errors import WeightsUnusable


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


@pytest.mark.parametrize(
    ("meta", "classes"),
    [
        ({"dataset_meta": {"classes": ["cat", "dog"]}}, ("cat", "dog")),
        ({"dataset_meta": {"CLASSES": ("cat",)}}, ("cat",)),
        ({"CLASSES": ("cat", "dog")}, ("cat", "dog")),
        ({"CLASSES": ("cat", 3)}, ()),
        ({"CLASSES": "cat"}, ()),
        ({"CLASSES": ("cat\n",)}, ()),
        ({}, ()),
        ("no mapping", ()),
    ],
)
def test_class_names_are_taken_from_the_meta_data_of_each_version(
    meta: Any, classes: tuple[str, ...], tmp_path: Path
) -> None:
    torch.save({"state_dict": {"a": torch.ones(1)}, "meta": meta}, tmp_path / "a.pth")
    assert read_checkpoint(tmp_path / "a.pth").classes == classes


def test_the_config_is_taken_as_text_however_it_is_called(tmp_path: Path) -> None:
    for key in ("cfg", "config"):
        content = {"state_dict": {"a": torch.ones(1)}, "meta": {key: "model = dict()"}}
        torch.save(content, tmp_path / "a.pth")
        assert read_checkpoint(tmp_path / "a.pth").config == "model = dict()"
