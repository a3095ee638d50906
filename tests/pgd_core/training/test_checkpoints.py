from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from pgd_core.training.checkpoints import (
    DAMAGED,
    FOREIGN,
    Found,
    find_checkpoint,
    load_checkpoint,
    save_checkpoint,
    write_atomically,
)
from tests.pgd_core.training.processes import ROOT, wait_until


def steps(folder: Path) -> list[int]:
    """Of the checkpoints that are announced, all of them whole."""
    return [int(note.stem.removeprefix("step_")) for note in sorted(folder.glob("step_*.json"))]


def test_the_newest_of_several_folders_is_found(tmp_path: Path) -> None:
    newest = save_checkpoint(tmp_path / "a", 10, {"step": 10})
    save_checkpoint(tmp_path / "b", 9, {"step": 9})
    assert find_checkpoint([tmp_path / "b", tmp_path / "a"]) == Found(newest)
    assert load_checkpoint(newest) == {"step": 10}
    assert find_checkpoint([tmp_path / "none"]) == Found(None)


def test_of_two_at_the_same_step_the_first_folders_is_taken(tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "older", 5, {"step": 5})
    newer = save_checkpoint(tmp_path / "newer", 5, {"step": 5})
    assert find_checkpoint([tmp_path / "newer", tmp_path / "older"]).path == newer


def flip(path: Path, place: float) -> None:
    """One bit, at that share of the file."""
    content = bytearray(path.read_bytes())
    content[int(place * (len(content) - 1))] ^= 1
    path.write_bytes(content)


HARM: dict[str, Callable[[Path], object]] = {
    "truncated": lambda path: path.write_bytes(path.read_bytes()[:-50]),
    "empty": lambda path: path.write_bytes(b""),
    "gone": lambda path: path.unlink(),
    "flipped in its header": lambda path: flip(path, 0.0),
    "flipped in its tensors": lambda path: flip(path, 0.5),
    "flipped in its directory": lambda path: flip(path, 1.0),
    "announcement truncated": lambda path: path.with_suffix(".json").write_text("{"),
    "announcement empty": lambda path: path.with_suffix(".json").write_text(""),
    "announcement of another kind": lambda path: path.with_suffix(".json").write_text("[]"),
    "checksum flipped": lambda path: flip(path.with_suffix(".json"), 0.6),
}


@pytest.mark.parametrize("harm", HARM)
def test_a_harmed_checkpoint_is_passed_over_for_the_one_before(tmp_path: Path, harm: str) -> None:
    older, newer = (
        save_checkpoint(tmp_path, step, {"step": step, "w": torch.ones(1000)}) for step in (1, 2)
    )
    HARM[harm](newer)
    assert find_checkpoint([tmp_path]) == Found(older, ((newer, DAMAGED),))


def test_a_checkpoint_of_another_run_is_passed_over_and_one_without_a_name_is_not(
    tmp_path: Path,
) -> None:
    foreign = save_checkpoint(tmp_path / "a", 3, {}, "another run")
    ours = save_checkpoint(tmp_path / "b", 2, {}, "run")
    folders = [tmp_path / "a", tmp_path / "b"]
    assert find_checkpoint(folders, "run") == Found(ours, ((foreign, FOREIGN),))
    note = json.loads(foreign.with_suffix(".json").read_bytes())
    del note["run"]  # an earlier release's
    foreign.with_suffix(".json").write_text(json.dumps(note))
    assert find_checkpoint(folders, "run") == Found(foreign)


def test_checkpoints_of_later_steps_that_were_passed_over_do_not_displace_new_ones(
    tmp_path: Path,
) -> None:
    for step in (100, 120):
        save_checkpoint(tmp_path, step, {"step": step})
    save_checkpoint(tmp_path, 3, {"step": 3})
    assert steps(tmp_path) == [3]


SAVE_FOR_EVER = """
import itertools, sys, torch
from pathlib import Path
from pgd_core.training.checkpoints import save_checkpoint
state = {"w": torch.ones(3_000_000)}
for step in itertools.count(1):
    save_checkpoint(Path(sys.argv[1]), step, state)
"""


def test_a_process_killed_while_it_writes_leaves_the_checkpoints_before_whole(
    tmp_path: Path,
) -> None:
    process = subprocess.Popen([sys.executable, "-c", SAVE_FOR_EVER, str(tmp_path)], cwd=ROOT)
    wait_until(lambda: bool(steps(tmp_path)[1:]), process)
    wait_until(lambda: any(tmp_path.glob(".step_*.tmp")), process)
    process.kill()
    process.wait()
    found = find_checkpoint([tmp_path])
    assert found.path is not None
    assert found.passed_over == ()
    assert len(load_checkpoint(found.path)["w"]) == 3_000_000
    save_checkpoint(tmp_path, 10**6, {})
    assert not list(tmp_path.glob(".*"))  # what was left unfinished


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
