"""Unpacking a sent data set in a process that can lose nothing."""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from pydantic import ValidationError

from pgd_core.datasets.archives import Unpacked
from worker.confine import CheckLimits, run_confined

UNPACK = (sys.executable, "-m", "pgd_core.datasets", "unpack")
# The command bounds what comes out of the archive and its own memory further.
UNPACK_LIMITS = CheckLimits(wall_s=2 * 3600, cpu_s=2 * 3600)


def unpack_confined(
    archive: Path,
    folder: Path,  # that does not exist yet; appears whole or not at all
    scratch: Path,  # a folder for the process's own folder
    marker: str,
    stopping: Callable[[], bool],
    *,
    command: Sequence[str] = UNPACK,
    limits: CheckLimits = UNPACK_LIMITS,
) -> Unpacked:
    """What is in `folder` now, or why it is not there. Interrupted on `stopping`."""
    own = Path(tempfile.mkdtemp(prefix="check-", dir=scratch))
    unfinished = folder.with_name(f".{folder.name}.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)  # of a process that was killed
    report = own / "unpacked.json"
    try:
        problem = run_confined(
            [*command, str(archive), str(folder), "--report", str(report)],
            own,
            marker,
            limits,
            stopping,
            answer=report,
            answer_codes=(0, 1),
        )
        return Unpacked(usable=False, message=problem) if problem else _read(report, folder)
    finally:
        shutil.rmtree(own, ignore_errors=True)
        shutil.rmtree(unfinished, ignore_errors=True)


def _read(report: Path, folder: Path) -> Unpacked:
    """The process's answer, where it names what there is."""
    try:
        unpacked = Unpacked.model_validate_json(report.read_bytes())
    except (OSError, ValidationError):
        return Unpacked(usable=False, message="the answer of the unpacking cannot be read")
    if unpacked.usable and not all(_is_below(folder, part) for part in unpacked.parts()):
        return Unpacked(usable=False, message="the unpacked data set is not where it should be")
    return unpacked


def _is_below(folder: Path, part: str) -> bool:
    path = (folder / part).resolve()
    return path.is_relative_to(folder.resolve()) and path.exists()
