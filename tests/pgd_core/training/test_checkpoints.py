from __future__ import annotations

from pathlib import Path

import pytest
import torch

from pgd_core.training.checkpoints import newest_checkpoint, save_checkpoint, write_atomically


def test_the_newest_of_several_folders_is_found(tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "a", 10, {"step": 10})
    save_checkpoint(tmp_path / "b", 9, {"step": 9})
    assert newest_checkpoint([tmp_path / "b", tmp_path / "a"]) == {"step": 10}
    assert newest_checkpoint([tmp_path / "none"]) is None


@pytest.mark.parametrize("harm", ["truncate", "flip", "remove", "announcement"])
def test_a_harmed_checkpoint_is_passed_over_for_the_one_before(tmp_path: Path, harm: str) -> None:
    for step in (1, 2):
        path = save_checkpoint(tmp_path, step, {"step": step, "w": torch.ones(100)})
    content = bytearray(path.read_bytes())
    if harm == "truncate":
        path.write_bytes(content[:-50])
    elif harm == "flip":
        content[len(content) // 2] ^= 1
        path.write_bytes(content)
    elif harm == "remove":
        path.unlink()
    else:
        path.with_suffix(".json").write_text("{")
    found = newest_checkpoint([tmp_path])
    assert found is not None
    assert found["step"] == 1


def test_only_the_last_two_are_kept(tmp_path: Path) -> None:
    for step in range(5):
        save_checkpoint(tmp_path, step, {"step": step})
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        f"step_{step:09d}.{suffix}" for step in (3, 4) for suffix in ("json", "pth")
    ]


def test_a_write_that_fails_leaves_the_old_file_whole(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_text("old")

    def fail(tmp: Path) -> None:
        tmp.write_text("ne")
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        write_atomically(path, fail)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]  # what was written of the new one is gone
