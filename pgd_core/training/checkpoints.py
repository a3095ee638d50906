"""Checkpoints to resume from: whole or absent, and loaded without executing code.

MMEngine writes its own in place and loads them by unpickling anything; these are written beside,
synced, renamed, and announced by a small JSON file with their checksum.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

KEPT = 2  # newest checkpoints of a variant


def save_checkpoint(folder: Path, step: int, state: dict[str, Any]) -> Path:
    """Write the state after `step` steps; older checkpoints than the last two are removed."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"step_{step:09d}.pth"
    write_atomically(path, lambda tmp: torch.save(state, tmp))
    note = json.dumps({"file": path.name, "step": step, "sha256": sha256_of(path)})
    write_atomically(path.with_suffix(".json"), lambda tmp: tmp.write_text(note))
    for old in sorted(folder.glob("step_*.json"))[:-KEPT]:
        old.unlink()  # the announcement first: a file without one is never read
        old.with_suffix(".pth").unlink(missing_ok=True)
    return path


def newest_checkpoint(folders: list[Path]) -> dict[str, Any] | None:
    """The state of the most advanced checkpoint whose checksum holds, or None."""
    notes = [note for folder in folders for note in folder.glob("step_*.json")]
    for note in sorted(notes, key=lambda path: path.name, reverse=True):
        state = _load(note)
        if state is not None:
            return state
    return None


def _load(note: Path) -> dict[str, Any] | None:
    try:
        announced = json.loads(note.read_bytes())
        path = note.with_suffix(".pth")
        if sha256_of(path) != announced["sha256"]:
            return None
    except (OSError, ValueError, KeyError, TypeError):
        return None
    state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    return state


def write_atomically(path: Path, write: Callable[[Path], object]) -> None:
    """Let `write` fill a temporary file, sync it, and rename it into place."""
    tmp = path.with_name(f".{path.name}.tmp")
    try:
        write(tmp)
        with tmp.open("rb") as file:
            os.fsync(file.fileno())
        tmp.replace(path)
    except BaseException:
        tmp.unlink(missing_ok=True)  # a disk that is full must not stay so
        raise
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def sha256_of(path: Path) -> str:
    """Hex digest of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
