"""What a run says while it runs: lines of JSON for programs, lines of text for the log."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from pgd_core.jobs.run import ProgressLine


@dataclass
class Reporter:
    """Appends `ProgressLine`s; knows how far the whole job is, twins included."""

    path: Path | None  # None: this process is silent (not the first of several)
    total_steps: int = 1  # of all variants
    finished_steps: int = 0  # of the variants before this one
    _started: float = field(default_factory=time.monotonic)
    _steps_seen: int = 0  # made by this process: a resumed run must not count the others
    _last_step: int | None = None

    def stage(
        self, message: str, variant: str = "", *, done: float = 0.0, eta_s: float | None = None
    ) -> None:
        """Say what is being done, and of a stage that can be measured how far the job is."""
        self._write(
            ProgressLine(
                type="stage", at=_now(), variant=variant, message=message, done=done, eta_s=eta_s
            )
        )

    def training(self, variant: str, step: int, **values: Any) -> None:
        """After a step of training."""
        self._after_step("train", variant, step, values)

    def validation(self, variant: str, step: int, **values: Any) -> None:
        """After a validation."""
        self._after_step("validation", variant, step, values)

    def begin_variant(self, step: int) -> None:
        """A variant starts or resumes at this step; what came before the first says no pace."""
        if not self._steps_seen:
            self._started = time.monotonic()
        self._last_step = self.finished_steps + step

    def end_variant(self, steps: int) -> None:
        """A variant is finished."""
        self.finished_steps += steps

    def _after_step(
        self, kind: Literal["train", "validation"], variant: str, step: int, values: dict[str, Any]
    ) -> None:
        self._write(
            ProgressLine(
                type=kind,
                at=_now(),
                variant=variant,
                iteration=step,
                done=self._done(step),
                eta_s=self._eta(step),
                **values,
            )
        )

    def _done(self, step: int) -> float:
        return min(1.0, (self.finished_steps + step) / self.total_steps)

    def _eta(self, step: int) -> float | None:
        """From this process's own speed, validations included."""
        now = self.finished_steps + step
        if self._last_step is not None:
            self._steps_seen += max(0, now - self._last_step)
        self._last_step = now
        if not self._steps_seen:
            return None
        pace = (time.monotonic() - self._started) / self._steps_seen
        return round(pace * max(0, self.total_steps - now), 1)

    def _write(self, line: ProgressLine) -> None:
        if self.path is None:
            return
        _append(self.path, line.model_dump_json().encode() + b"\n")
        print(_for_people(line), flush=True)  # noqa: T201  the trainer's log


def _append(path: Path, text: bytes) -> None:
    """All of the text or, where there is no room for it, none."""
    with path.open("ab", buffering=0) as file:
        before = file.seek(0, os.SEEK_END)
        try:
            while text:
                text = text[file.write(text) :]
        except OSError:
            file.truncate(before)
            raise


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def _for_people(line: ProgressLine) -> str:
    head = f"{line.at[11:19]} {line.variant or 'job'}"
    if line.type == "stage":
        return f"{head}: {line.message}"
    where = f"{line.iteration}/{line.total_iterations} (epoch {line.epoch:.2f})"
    if line.type == "validation":
        return f"{head} {where}: {_in_short(line.metrics)}"
    terms = {**line.losses, **line.distillation_losses}
    losses = ", ".join(f"{name} {value:.4g}" for name, value in terms.items())
    return (
        f"{head} {where}: {losses}; lr {line.learning_rate:.3g}, {line.images_per_s:.1f} images/s"
    )


def _in_short(metrics: dict[str, Any]) -> str:
    """AP, and on CrowdHuman MR and JI."""
    values = {name: metrics.get(name) for name in ("AP", "MR", "JI")}
    return ", ".join(
        f"{name} {'–' if value is None else f'{value:.1f}'}"
        for name, value in values.items()
        if name in metrics or name == "AP"
    )
