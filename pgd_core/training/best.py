"""The weights of a variant that become its output, and the record of how it got there."""

from __future__ import annotations

import json
import shutil
from functools import partial
from pathlib import Path
from typing import Any

from mmengine import dist
from safetensors.torch import save_file
from torch import nn

from pgd_core.evaluation.detections import Detections, write_detections
from pgd_core.evaluation.pictures import SHOWN_FROM
from pgd_core.training.agreement import of_first
from pgd_core.training.checkpoints import sha256_of, write_atomically
from pgd_core.training.loop import student_of

FINISHED = "finished.json"
WEIGHTS = "weights.safetensors"
FOUND = "found.npz"  # by these weights in the validation pictures
_RECORD = "best.json"


class Best:
    """Keeps the weights that become the output: the last, or those of the highest AP."""

    def __init__(self, folder: Path, run: str, *, keep: bool) -> None:
        self.folder, self.run, self.keep = folder, run, keep
        self.record: dict[str, Any] = {}  # step, metrics and checksum of the kept weights
        self.history: list[dict[str, Any]] = []
        self.found: list[Detections] = []  # in the validation that is about to be seen

    def hold(self, found: list[Detections]) -> None:
        """What the weights found, before their metrics are seen."""
        self.found = found

    def see(self, model: nn.Module, step: int, metrics: dict[str, Any]) -> None:
        """After a validation."""
        entry = {"step": step, "metrics": metrics}
        found, self.found = self.found, []
        self.history = [*(seen for seen in self.history if seen["step"] != step), entry]
        becomes_output = self._becomes_output(metrics)
        if becomes_output:
            self.record = entry
        if not dist.is_main_process():
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        if becomes_output:
            weights = {k: v.contiguous() for k, v in student_of(model).state_dict().items()}
            write_atomically(self.folder / WEIGHTS, lambda tmp: save_file(weights, tmp))
            write_atomically(
                self.folder / FOUND, lambda tmp: write_detections(tmp, found, SHOWN_FROM)
            )
            self.record = {**entry, "weights_sha256": sha256_of(self.folder / WEIGHTS)}
        kept = {"kept": self.record, "history": self.history, "run": self.run}
        self._write(_RECORD, kept)

    def saw(self, step: int) -> bool:
        """Whether the validation after this step is on record; without kept weights none is."""
        return bool(self.record) and any(entry["step"] == step for entry in self.history)

    def _becomes_output(self, metrics: dict[str, Any]) -> bool:
        """Without objects to find there is no AP and no best: the last is kept."""
        best = self.record["metrics"]["AP"] if self.record else None
        return not self.keep or best is None or metrics["AP"] > best

    def recall(self, folders: list[Path], step: int) -> None:
        """What the attempt that is resumed had seen up to its checkpoint."""
        self.record, self.history = of_first(self._recalled(folders, step))

    def _recalled(
        self, folders: list[Path], step: int
    ) -> tuple[dict[str, Any], list[dict[str, Any]]]:
        if not dist.is_main_process():
            return {}, []
        for folder in folders:
            seen = _read(folder / _RECORD, self.run)
            if seen is not None:
                history = [entry for entry in seen["history"] if entry["step"] <= step]
                if not _is_whole(folder, seen["kept"]):
                    return {}, history
                _bring(folder, self.folder, WEIGHTS, FOUND, _RECORD)
                return seen["kept"], history
        return {}, []

    def finish(self) -> dict[str, Any]:
        """The run is over: write and return what it came to."""
        finished = {**self.record, "history": self.history, "run": self.run}
        if dist.is_main_process():
            self._write(FINISHED, finished)
        dist.barrier()
        return finished

    def _write(self, name: str, content: dict[str, Any]) -> None:
        write_atomically(self.folder / name, lambda tmp: tmp.write_text(json.dumps(content)))


def finished_before(folders: list[Path], to: Path, run: str) -> dict[str, Any] | None:
    """What an earlier attempt has finished, its files brought to this one's folder."""
    return of_first(_finished(folders, to, run) if dist.is_main_process() else None)


def _finished(folders: list[Path], to: Path, run: str) -> dict[str, Any] | None:
    for folder in folders:
        finished = _read(folder / FINISHED, run)
        if finished is not None and _is_whole(folder, finished):
            _bring(folder, to, WEIGHTS, FOUND, FINISHED)
            return finished
    return None


def _read(path: Path, run: str) -> dict[str, Any] | None:
    """A record of this run; None where there is none, or half of one."""
    try:
        content: dict[str, Any] = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return None
    return content if content.get("run", run) == run else None  # an earlier release wrote none


def _is_whole(folder: Path, kept: dict[str, Any]) -> bool:
    """Whether the weights are the ones on record; an earlier release wrote no checksum."""
    try:
        sha256 = sha256_of(folder / WEIGHTS)
    except OSError:
        return False
    return bool(kept.get("weights_sha256", sha256) == sha256)


def _bring(earlier: Path, folder: Path, *names: str) -> None:
    """Copy files of an earlier attempt, each whole; the last of them says that all are there.

    FOUND may be missing: an earlier release did not write it.
    """
    if earlier == folder:
        return
    folder.mkdir(parents=True, exist_ok=True)
    for name in (n for n in names if n != FOUND or (earlier / n).exists()):
        write_atomically(folder / name, partial(shutil.copyfile, earlier / name))
