"""Reading progress.jsonl while the trainer appends to it."""

from __future__ import annotations

from pathlib import Path

import structlog
from pydantic import ValidationError

from pgd_core.jobs.run import ProgressLine

_MOST_BYTES = 2**20  # at a time; the rest comes with the next look

log = structlog.get_logger()


class ProgressTail:
    """Gives each whole line once; a line that is still being written waits."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._offset = 0

    def new_lines(self) -> list[ProgressLine]:
        """What was appended since the last look, at most 1 MiB of it."""
        try:
            with self._path.open("rb") as file:
                file.seek(self._offset)
                content = file.read(_MOST_BYTES)
        except FileNotFoundError:
            return []
        whole = content.rfind(b"\n") + 1
        if whole == 0 and len(content) == _MOST_BYTES:
            whole = len(content)  # no line is that long: step over it
        self._offset += whole
        return [line for text in content[:whole].splitlines() if (line := _parse(text))]


def _parse(text: bytes) -> ProgressLine | None:
    try:
        return ProgressLine.model_validate_json(text)
    except ValidationError:
        if text.strip():
            log.warning("progress_line_skipped", line=text[:200].decode(errors="replace"))
        return None
