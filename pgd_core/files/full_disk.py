"""Room on a disk: how much there is, and whether an error means that there was none."""

from __future__ import annotations

import errno
import re
import shutil
from pathlib import Path

from pgd_core.errors import DiskFull, with_origins

_NUMBERS = (errno.ENOSPC, errno.EDQUOT)
# Rust's libraries, safetensors among them, tell the system's number in their message only.
_IN_WORDS = re.compile(rf"\(os error ({'|'.join(map(str, _NUMBERS))})\)")


def lacks_room(error: BaseException) -> bool:
    """Whether the error, or one that it arose from, says that a disk or a quota is full."""
    return any(
        getattr(each, "errno", None) in _NUMBERS or _IN_WORDS.search(str(each))
        for each in with_origins(error)
    )


def free_mib(folder: Path) -> float:
    """Room that is left for us on the folder's disk; a quota is not seen."""
    return shutil.disk_usage(folder).free / 2**20


def disk_full(folder: Path, error: BaseException) -> DiskFull:
    """The same in words for people; notes of the error say what was being written."""
    doing = "; ".join(note for each in with_origins(error) for note in _notes(each))
    return DiskFull(
        f"the disk of {folder} is full: {free_mib(folder):.1f} MiB free"
        + (f" after what failed ({doing})" if doing else "")
        + "; make room there, and the run goes on from its newest checkpoint"
    )


def _notes(error: BaseException) -> list[str]:
    return getattr(error, "__notes__", [])
