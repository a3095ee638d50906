from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from pgd_core.detectors import checkpoint_file
from pgd_core.detectors.checkpoint_file import FileKind, kind_of
from pgd_core.errors import WeightsUnusable

WEIGHTS = {"a": torch.rand(2, 3), "empty": torch.zeros(0), "half": torch.rand(3).half()}


def test_a_kind_is_told_from_the_content_whatever_the_name(tmp_path: Path) -> None:
    path = tmp_path / "uploaded"
    save_file(WEIGHTS, path, metadata={"format": "pt"})
    assert kind_of(path) is FileKind.SAFETENSORS
    torch.save(WEIGHTS, path)
    assert kind_of(path) is FileKind.ZIP
    torch.save(WEIGHTS, path, _use_new_zipfile_serialization=False)
    assert kind_of(path) is FileKind.PICKLE


def test_a_file_over_the_bound_is_not_opened_further(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.save(WEIGHTS, tmp_path / "a.pth")
    monkeypatch.setattr(checkpoint_file, "MAX_BYTES", 100)
    with pytest.raises(WeightsUnusable, match="at most 100 are read"):
        kind_of(tmp_path / "a.pth")
