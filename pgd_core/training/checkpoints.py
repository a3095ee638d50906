"""Checkpoints to resume from: whole or absent, and loaded without executing code.

MMEngine writes its own in place and loads them by unpickling anything; these are written beside,
synced, renamed, and announced by a small JSON file with their checksum.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

KEPT = 2  # newest checkpoints of a variant
DAMAGED = "is damaged"
FOREIGN = "is of another job"


@dataclass(frozen=True)
class Found:
    """The checkpoint to go on from, if any, and why newer ones are not."""

    path: Path | None
    passed_over: tuple[tuple[Path, str], ...] = ()  # newest first, with what is wrong with it


def save_checkpoint(folder: Path, step: int, state: dict[str, Any], run: str = "") -> Path:
    """Write the state after `step` steps of the run of that fingerprint.

    Of the older checkpoints the last stays too; one of a later step is none of this run's, which
    would have resumed from it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    _sweep(folder)
    path = folder / f"step_{step:09d}.pth"
    save_tensors(state, path)
    note = json.dumps({"file": path.name, "step": step, "sha256": sha256_of(path), "run": run})
    try:
        write_atomically(path.with_suffix(".json"), lambda tmp: tmp.write_text(note))
    except BaseException:
        path.unlink()  # never read without its announcement
        raise
    notes = sorted(folder.glob("step_*.json"))
    now = notes.index(path.with_suffix(".json")) + 1
    for other in (*notes[: max(0, now - KEPT)], *notes[now:]):
        other.unlink()  # the announcement first
        other.with_suffix(".pth").unlink(missing_ok=True)
    return path


def find_checkpoint(folders: list[Path], run: str = "") -> Found:
    """The most advanced checkpoint of this run whose checksum holds; of equals, the first folder's.

    Checkpoints without a fingerprint are an earlier release's, and taken to be this run's.
    """
    notes = [note for folder in folders for note in folder.glob("step_*.json")]
    passed_over: list[tuple[Path, str]] = []
    for note in sorted(notes, key=lambda path: path.name, reverse=True):
        wrong = _what_is_wrong(note, run)
        if not wrong:
            return Found(note.with_suffix(".pth"), tuple(passed_over))
        passed_over.append((note.with_suffix(".pth"), wrong))
    return Found(None, tuple(passed_over))


def load_checkpoint(path: Path) -> dict[str, Any]:
    """The state that `save_checkpoint` wrote."""
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
    except BaseException as error:
        tmp.unlink(missing_ok=True)  # a disk that is full must not stay so
        error.add_note(f"writing {path.name}")
        raise
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def save_tensors(state: dict[str, Any], path: Path) -> None:
    """`torch.save`, atomically, and through a file of ours: of its own it hides what failed."""

    def write(tmp: Path) -> None:
        with tmp.open("wb") as file:
            torch.save(state, file)

    write_atomically(path, write)


def sha256_of(path: Path) -> str:
    """Hex digest of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sweep(folder: Path) -> None:
    """Remove what a process that was killed left unfinished."""
    for path in folder.glob(".step_*.tmp"):
        path.unlink()
    for path in folder.glob("step_*.pth"):
        if not path.with_suffix(".json").exists():
            path.unlink()


def _what_is_wrong(note: Path, run: str) -> str:
    try:
        announced = json.loads(note.read_bytes())
        if sha256_of(note.with_suffix(".pth")) != announced["sha256"]:
            return DAMAGED
        return FOREIGN if run != announced.get("run", run) else ""
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return DAMAGED
