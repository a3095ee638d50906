from __future__ import annotations

import errno
from pathlib import Path

import pytest

from pgd_core.files.full_disk import disk_full, lacks_room


def raised(error: Exception, origin: Exception | None = None) -> Exception:
    """The error as it looks when it was raised while handling, or from, another."""
    try:
        try:
            if origin is not None:
                raise origin
        finally:
            raise error
    except Exception as caught:
        return caught


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_known_by_its_number_however_deep(number: int) -> None:
    full = OSError(number, "full")
    assert lacks_room(full)
    assert lacks_room(raised(RuntimeError("unexpected pos 64 vs 0"), full))
    assert lacks_room(RuntimeError(f"I/O error: No space left on device (os error {number})"))


def test_other_errors_are_no_full_disk() -> None:
    assert not lacks_room(raised(OSError(errno.EACCES, "no"), ValueError("(os error 2)")))
    assert not lacks_room(RuntimeError("280 MiB"))


def test_the_message_names_the_folder_its_room_and_what_was_being_written(tmp_path: Path) -> None:
    full = OSError(errno.ENOSPC, "full")
    full.add_note("writing step_000000003.pth")
    message = disk_full(tmp_path, full).message
    assert str(tmp_path) in message
    assert "MiB free" in message
    assert "step_000000003.pth" in message
