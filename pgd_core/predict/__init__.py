"""What an exported detector finds in a picture from outside, without torch and at a bounded cost.

Every picture is read, looked at and drawn in a process of its own, `python -m pgd_core.predict`,
which limits its own memory and time: this one never opens it, and needs neither numpy nor
onnxruntime (the extra `predict`).
"""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

from pgd_core.errors import PgdError, PictureUnusable, PredictionFailed, PredictionTimedOut

__all__ = ["FORMATS", "Found", "Limits", "draw", "predict"]

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF")  # Pillow's names
_GIB = 2**30
# No database password, no cloud key: nothing but what finds the interpreter's libraries.
_KEPT_VARIABLES = ("PATH", "HOME", "PYTHONPATH", "LD_LIBRARY_PATH", "LANG")
_ERRORS: dict[str, type[PgdError]] = {
    error.code: error for error in (PictureUnusable, PredictionFailed)
}


@dataclass(frozen=True)
class Limits:
    """What one picture may cost."""

    max_bytes: int = 32 * 2**20  # of the picture's file
    max_pixels: int = 50_000_000
    time_s: float = 30.0
    memory_bytes: int = 8 * _GIB  # address space
    threads: int = 2
    formats: tuple[str, ...] = FORMATS  # that are tried, whatever the picture is said to be


@dataclass(frozen=True)
class Found:
    """One detection."""

    box: tuple[float, float, float, float]  # XYXY, pixels of the picture, turned as EXIF says
    score: float
    label: str  # the class's name


def predict(
    model: Path,  # an exported detector with NMS, `student-nms.onnx`
    picture: bytes,
    *,
    score_threshold: float = 0.3,  # under the exported one it changes nothing
    limits: Limits = Limits(),
) -> list[Found]:
    """What is found, best first.

    Raises PictureUnusable for what is no picture or too large a one, PredictionFailed when the
    detector cannot answer within the limits: PredictionTimedOut within that of time.
    """
    rows = json.loads(_run(model, picture, "boxes", score_threshold, limits))
    return [Found(tuple(row["box"]), row["score"], row["label"]) for row in rows]


def draw(
    model: Path,
    picture: bytes,
    *,
    score_threshold: float = 0.3,
    limits: Limits = Limits(),
) -> bytes:
    """The picture with what is found painted in, as PNG; errors as of `predict`."""
    return _run(model, picture, "drawing", score_threshold, limits)


def _run(model: Path, picture: bytes, answer: str, score_threshold: float, limits: Limits) -> bytes:
    if len(picture) > limits.max_bytes:
        raise PictureUnusable(
            f"the picture's file has {len(picture)} bytes; {limits.max_bytes} are allowed"
        )
    order = {"model": str(model), "answer": answer, "score_threshold": score_threshold}
    order |= asdict(limits) | {"cpu_s": math.ceil(limits.time_s * limits.threads)}
    try:
        ended = subprocess.run(
            [sys.executable, "-m", "pgd_core.predict", json.dumps(order)],
            input=picture,
            capture_output=True,
            env={name: os.environ[name] for name in _KEPT_VARIABLES if name in os.environ},
            timeout=limits.time_s,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise PredictionTimedOut(
            f"the detector took longer than {limits.time_s:g} s; send a smaller picture, or again "
            "when the server is less busy"
        ) from error
    if ended.returncode == 0:
        return ended.stdout
    raise _told(ended.returncode, ended.stderr)


def _told(code: int, errors: bytes) -> PgdError:
    """The process's own word, the last line, or how it ended."""
    last = (errors.decode(errors="replace").strip().splitlines() or [""])[-1]
    try:
        word = json.loads(last)
        return _ERRORS[word["code"]](word["message"])
    except (ValueError, KeyError, TypeError):
        how = f"was ended by signal {-code}" if code < 0 else f"ended with code {code}"
        return PredictionFailed(
            f"the detector's process {how}, perhaps at its limit of memory or time: {last[:300]}"
        )
